import { Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";

/** What a job has made, with the way to what has a page. */
export function Made({ outputs }: { outputs: Record<string, string> }) {
  const made = Object.entries(outputs);
  if (!made.length) return <>–</>;
  return (
    <>
      {made.map(([what, id]) => (
        <Text size="sm" key={what}>
          {what}{" "}
          {id.startsWith("mdl_") ? <Link className="link" to="/models/$modelId" params={{ modelId: id }}>{id}</Link> : id}
        </Text>
      ))}
    </>
  );
}
