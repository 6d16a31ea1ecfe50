import { Button, Card, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { deploymentQuery } from "../../api/models";
import { Json } from "../../components/Json";
import { Output } from "../../components/Output";
import { placeOf } from "../../components/place";
import { number } from "../../format";

/** What a job made and its final numbers; what is neither is shown as it is. */
export function Result({ result }: { result: Record<string, unknown> }) {
  const { outputs, metrics, ...rest } = result as { outputs?: Record<string, string>; metrics?: Record<string, unknown> };
  const facts: [string, React.ReactNode][] = [
    ...Object.entries(outputs ?? {}).map(([name, id]): [string, React.ReactNode] => [name, <Output key={id} id={String(id)} />]),
    ...Object.entries(metrics ?? {}).map(([name, value]): [string, string] => [name, typeof value === "number" ? number(value) : JSON.stringify(value)]),
  ];
  return (
    <Card withBorder padding="sm" component="section" aria-label="Result">
      <Group justify="space-between" mb={4}>
        <Text fw={600} size="sm">Result</Text>
        <Group gap="xs">{Object.values(outputs ?? {}).map((id) => <Next key={id} id={String(id)} />)}</Group>
      </Group>
      <dl className="facts">
        {facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
      </dl>
      {Object.keys(rest).length > 0 && <Json value={rest} label="More of the result" />}
    </Card>
  );
}

/** What is usually done next with what was made. */
function Next({ id }: { id: string }) {
  if (id.startsWith("dep_")) return <TryIt id={id} />;
  const place = placeOf(id);
  if (!place) return null;
  const { what, ...to } = place;
  return <Button size="xs" component={Link} {...(to as object)}>Open the {what}</Button>;
}

function TryIt({ id }: { id: string }) {
  const found = useQuery(deploymentQuery(id));
  return found.data ? <Button size="xs" component={Link} to="/try" search={{ model: found.data.name } as never}>Try it</Button> : null;
}
