import { Card, Group, MultiSelect, SimpleGrid, Switch, Text, Title } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";

import type { Job, Metric } from "../../api/client";
import { OVER, type Reports } from "../../api/live";
import { jobQueryOf, jobsHead } from "../../api/queries";
import { number, unitOf } from "../../format";
import Plot, { type Line } from "../../plots/Plot";

// what people look at first, in this order
const FIRST = [/^loss/, /loss/, /dice|auc/, /^lr$/, /^samples_per_s$/, /^data_wait$/, /^peak_memory_gib$/];
const place = (name: string) => FIRST.findIndex((each) => each.test(name));
const MOST = 8;

/** One number of a job over its steps; a step that a later attempt ran again counts as that one told it. */
function lineOf(label: string, rows: readonly Metric[], name: string): Line {
  const found = new Map<number, number>();
  for (const row of rows) {
    const value = row.values[name];
    if (value != null) found.set(row.step, value);
  }
  const steps = [...found.keys()].sort((a, b) => a - b);
  return { label, x: steps, y: steps.map((step) => found.get(step) as number) };
}

interface Props {
  job: Job;
  others: readonly string[];
  reportsOf: (id: string) => Reports;
}

/** The curves of a job, and over them those of others. */
export default function Curves({ job, others, reportsOf }: Props) {
  const search = useSearch({ from: "/jobs/$id" });
  const navigate = useNavigate({ from: "/jobs/$id" });
  const [log, setLog] = useState(false);
  const ids = [job.id, ...others];
  const records = useQueries({ queries: others.map((id) => jobQueryOf(id)) });
  const label = (id: string) => (id === job.id ? job.name : records[others.indexOf(id)]?.data?.name ?? id);
  const names = [...new Set(ids.flatMap((id) => reportsOf(id).metrics.flatMap((row) => Object.keys(row.values))))].sort();
  const shown = search.curves ?? names.filter((name) => place(name) >= 0).sort((a, b) => place(a) - place(b)).slice(0, MOST);
  const labels = ids.map((id, at) => (ids.findIndex((other) => label(other) === label(id)) === at ? label(id) : `${label(id)} (${id.slice(-5)})`));
  return (
    <>
      <Group mb="md" align="flex-end">
        <Compare job={job} others={others} />
        <MultiSelect
          label="Curves" data={names} value={shown.filter((name) => names.includes(name))} searchable w={{ base: 300, lg: 480 }}
          onChange={(curves) => void navigate({ search: (old) => ({ ...old, curves: curves.length ? curves : undefined }), replace: true })}
        />
        <Switch label="Logarithmic" checked={log} onChange={(event) => setLog(event.currentTarget.checked)} mb={8} />
      </Group>
      {names.length === 0 && (
        <Text size="sm" c="dimmed">{OVER.has(job.state) ? "It has reported no numbers." : "No numbers yet; they appear here as the job reports them."}</Text>
      )}
      <SimpleGrid cols={{ base: 1, lg: 2 }}>
        {shown.filter((name) => names.includes(name)).map((name) => {
          const lines = ids.map((id, at) => lineOf(labels[at] ?? id, reportsOf(id).metrics, name));
          return (
            <Card key={name} withBorder padding="sm" component="section" aria-label={name}>
              <Group justify="space-between" gap="xs">
                <Title order={3} size="h6">{name} <Text span size="xs" c="dimmed">{unitOf(name)}</Text></Title>
                <Text size="sm">{number(lines[0]?.y.at(-1))}</Text>
              </Group>
              <Plot title={name} lines={lines} log={log} />
            </Card>
          );
        })}
      </SimpleGrid>
    </>
  );
}

/** Other jobs of the same kind, to be drawn over this one. */
function Compare({ job, others }: { job: Job; others: readonly string[] }) {
  const navigate = useNavigate({ from: "/jobs/$id" });
  const { project } = useSearch({ from: "__root__" });
  const like = useQuery(jobsHead({ project, kind: [job.kind], state: ["running", "succeeded", "failed", "paused"] }));
  const data = (like.data?.items ?? []).filter((each) => each.id !== job.id).map((each) => ({ value: each.id, label: `${each.name} · ${each.state} · ${each.id.slice(-5)}` }));
  for (const id of others) if (!data.some((each) => each.value === id)) data.push({ value: id, label: id });
  return (
    <MultiSelect
      label="Compare with" data={data} value={[...others]} searchable maxValues={7} w={{ base: 300, lg: 380 }} clearable
      placeholder={others.length ? undefined : "jobs of the same kind"} nothingFoundMessage="no other job of this kind"
      onChange={(ids) => void navigate({ search: (old) => ({ ...old, with: ids.length ? ids : undefined }), replace: true })}
    />
  );
}
