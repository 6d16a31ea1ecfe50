import { Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { type Lineage, lineageQuery } from "../../api/models";
import { Failure } from "../../components/Failure";
import { Graph } from "../../components/Graph";
import { Output } from "../../components/Output";
import { bytes } from "../../format";

type Node = Lineage["nodes"][number];

/** What a model was made from, down to raw data, or what was made of it. */
export function Origins({ id }: { id: string }) {
  const [direction, setDirection] = useState<"origins" | "uses">("origins");
  const found = useQuery(lineageQuery(id, direction));
  const graph = useMemo(() => {
    const nodes = (found.data?.nodes ?? []).map((node) => ({ id: node.id, state: node.id === id ? "running" : node.noun, content: <Shown node={node} /> }));
    return { nodes, edges: (found.data?.edges ?? []).map(([made, of]) => ({ from: String(of), to: String(made) })) };
  }, [found.data, id]);
  return (
    <Stack gap="sm">
      <Group>
        <SegmentedControl value={direction} onChange={(to) => setDirection(to as typeof direction)} aria-label="Direction"
          data={[{ value: "origins", label: "Made from" }, { value: "uses", label: "Used for" }]} />
      </Group>
      {found.error && <Failure error={found.error} />}
      {found.data && graph.nodes.length < 2 && <Text size="sm" c="dimmed">{direction === "uses" ? "Nothing was made of it yet." : "Nothing is known of it."}</Text>}
      {graph.nodes.length > 1 && <Graph nodes={graph.nodes} edges={graph.edges} label="Lineage as a graph" />}
      {found.data && !found.data.complete && <Text size="sm">There is more than is shown here.</Text>}
    </Stack>
  );
}

function Shown({ node }: { node: Node }) {
  const words = [node.what, node.modality, node.total_bytes == null ? null : bytes(node.total_bytes)].filter(Boolean).join(", ");
  const inner = (
    <>
      <Text size="sm" fw={600} truncate td={node.deleted ? "line-through" : undefined}>{node.name ?? node.id}</Text>
      <Text size="xs" c="dimmed" truncate>{node.deleted ? "deleted" : node.noun}{words ? `: ${words}` : ""}</Text>
    </>
  );
  if (node.deleted) return <div title={node.id}>{inner}</div>;
  return <Output id={node.id} className="">{inner}</Output>;
}
