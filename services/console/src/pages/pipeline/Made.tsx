import { Text } from "@mantine/core";
import { Output } from "../../components/Output";

/** What a job has made, with the way to what has a page. */
export function Made({ outputs }: { outputs: Record<string, string> }) {
  const made = Object.entries(outputs);
  if (!made.length) return <>–</>;
  return (
    <>
      {made.map(([what, id]) => (
        <Text size="sm" key={what}>
          {what} <Output id={id} />
        </Text>
      ))}
    </>
  );
}
