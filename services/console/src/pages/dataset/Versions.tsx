import { Badge, Select, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { progenyQuery, versionsQuery } from "../../api/datasets";
import type { Dataset } from "../../api/client";
import { Failure } from "../../components/Failure";
import { Output } from "../../components/Output";
import { ago, bytes, moment, number } from "../../format";

/** Numbers and settings of a dataset by name, those of the recipe one by one. */
function facts(dataset: Dataset): Map<string, string> {
  const { samples, splits, classes, sample_shape, has_masks, file_count, total_bytes, bad_files, modality, parents, recipe } = dataset;
  const found = new Map<string, string>([
    ["samples", number(samples)], ["splits", Object.entries(splits ?? {}).map(([name, count]) => `${number(count)} ${name}`).join(", ") || "–"],
    ["classes", classes?.join(", ") ?? "–"], ["shape", sample_shape?.join(" × ") ?? "–"], ["masks", has_masks ? "yes" : "no"], ["modality", modality ?? "–"],
    ["files", number(file_count)], ["size", bytes(total_bytes)], ["files that could not be used", number(bad_files.length)], ["made from", parents.join(", ") || "–"],
  ]);
  flatten("recipe", recipe, found);
  return found;
}

function flatten(name: string, value: unknown, found: Map<string, string>): void {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    for (const [inner, each] of Object.entries(value)) flatten(`${name}.${inner}`, each, found);
  } else if (value !== undefined && value !== null) found.set(name, typeof value === "string" ? value : JSON.stringify(value));
}

export function Versions({ dataset }: { dataset: Dataset }) {
  const versions = useQuery(versionsQuery(dataset));
  const [picked, setPicked] = useState<string | null>(null);
  const others = (versions.data ?? []).filter((each) => each.id !== dataset.id);
  const other = others.find((each) => each.id === picked) ?? others[0];
  if (versions.error) return <Failure error={versions.error} retry={() => void versions.refetch()} />;
  return (
    <Stack gap="xl">
      <section aria-labelledby="versions">
        <Title order={2} size="h4" id="versions" mb="xs">Versions</Title>
        {versions.isSuccess && others.length === 0 && <Text size="sm" c="dimmed">No other {dataset.role} dataset is called {dataset.name}.</Text>}
        {others.length > 0 && (
          <ul>
            {versions.data?.map((each) => (
              <li key={each.id}>
                {each.id === dataset.id ? <Text span fw={600} size="sm">{each.id}, this one</Text> : <Link className="link" to="/datasets/$id" params={{ id: each.id }}>{each.id}</Link>}
                <Text span size="sm" c="dimmed" title={moment(each.created_at)}> {ago(each.created_at)}, {each.samples == null ? `${number(each.file_count)} files` : `${number(each.samples)} samples`}, {bytes(each.total_bytes)}</Text>
              </li>
            ))}
          </ul>
        )}
      </section>
      {other && (
        <section aria-labelledby="differences">
          <Title order={2} size="h4" id="differences" mb="xs">Differences</Title>
          <Select label="Compare with" w={360} data={others.map((each) => ({ value: each.id, label: `${each.id}, ${ago(each.created_at)}` }))} value={other.id} allowDeselect={false} onChange={setPicked} mb="sm" />
          <Differences mine={dataset} other={other} />
        </section>
      )}
      <Progeny dataset={dataset} />
    </Stack>
  );
}

function Differences({ mine, other }: { mine: Dataset; other: Dataset }) {
  const [here, there] = [facts(mine), facts(other)];
  const names = [...new Set([...here.keys(), ...there.keys()])].filter((name) => here.get(name) !== there.get(name));
  if (!names.length) return <Text size="sm">They have the same numbers and were made in the same way.</Text>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Differences of the versions">
      <table className="rows">
        <thead><tr><th scope="col">What differs</th><th scope="col">This one</th><th scope="col">{other.id}</th></tr></thead>
        <tbody>
          {names.map((name) => (
            <tr key={name}><th scope="row">{name}</th><td>{here.get(name) ?? "–"}</td><td>{there.get(name) ?? "–"}</td></tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What was made of it. */
function Progeny({ dataset }: { dataset: Dataset }) {
  const found = useQuery(progenyQuery(dataset.id));
  const nodes = (found.data?.nodes ?? []).filter((node) => node.id !== dataset.id && /^(ds|mdl)_/.test(node.id));
  return (
    <section aria-labelledby="progeny">
      <Title order={2} size="h4" id="progeny" mb="xs">What was made of it</Title>
      {found.error && <Failure error={found.error} />}
      {found.isSuccess && nodes.length === 0 && <Text size="sm" c="dimmed">Nothing yet.</Text>}
      <ul>
        {nodes.map((node) => (
          <li key={node.id}>
            <Badge variant="default" tt="none" size="sm" mr={6}>{node.what}</Badge>
            <Output id={node.id}>{node.name ?? node.id}</Output>
          </li>
        ))}
      </ul>
    </section>
  );
}
