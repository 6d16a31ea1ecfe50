import { Badge, Card, Group, Text, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import type { Line } from "../../api/models";
import { number } from "../../format";

/** The stages of the line that a model stands at the end of. */
export function LineTable({ line, id }: { line: Line; id: string }) {
  return (
    <Card withBorder component="section" aria-labelledby="line">
      <Title order={2} size="h4" id="line" mb="xs">Line</Title>
      {line.stages.length === 0 ? (
        <Text size="sm">No encoder stands behind it: it was trained from scratch, and so has no stages that could have been forgotten.</Text>
      ) : <Stages line={line} id={id} />}
    </Card>
  );
}

function Stages({ line, id }: { line: Line; id: string }) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Stages">
      <table className="rows">
        <thead>
          <tr>
            <th scope="col">Stage</th><th scope="col">Model</th><th scope="col">Has learnt here</th><th scope="col" className="num">Forgetting</th>
            <th scope="col">Data, buffers</th><th scope="col">Branches</th>
          </tr>
        </thead>
        <tbody>
          {line.stages.map((stage) => (
            <tr key={stage.model_id} aria-current={stage.model_id === id ? "true" : undefined}>
              <td>{stage.stage ?? "–"}</td>
              <td>
                <Group gap={6}>
                  {stage.model_id === id ? <Text size="sm" fw={600}>{stage.name}</Text>
                    : <Link className="link" to="/models/$modelId" params={{ modelId: stage.model_id }}>{stage.name}</Link>}
                  {stage.aliases.map((each) => <Badge key={each} variant="default" tt="none" size="sm">@{each}</Badge>)}
                </Group>
              </td>
              <td>{stage.learnt.join(", ")}</td>
              <td className="num">{number((stage.report as Record<string, number> | null)?.average_forgetting)}</td>
              <td>{stage.dataset_ids.length} {stage.dataset_ids.length === 1 ? "dataset" : "datasets"}, {stage.buffer_ids.length} {stage.buffer_ids.length === 1 ? "buffer" : "buffers"}</td>
              <td>
                {stage.branches.map((each) => (
                  <Link key={each} className="link" to="/models/$modelId" params={{ modelId: each }}>{each.slice(-6)} </Link>
                ))}
                {stage.branches.length === 0 && "–"}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
