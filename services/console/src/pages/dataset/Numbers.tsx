import { Alert, Button, Card, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useRef } from "react";

import { type Inspection, inspectionQuery, type Intensities, type Report } from "../../api/datasets";
import { api, type Dataset, requestKey } from "../../api/client";
import { meQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { JobProgress, StateBadge } from "../../components/State";
import { ago, number, percent } from "../../format";
import { Histogram } from "../../plots/Histogram";

/** What the newest inspection says, or a button that starts one. */
export function Inspected({ dataset, children }: { dataset: Dataset; children: (found: Inspection & { report: Report }) => React.ReactNode }) {
  const found = useQuery(inspectionQuery(dataset.id));
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (found.isPending) return <Text c="dimmed">Looking …</Text>;
  const { data } = found;
  if (!data || data.job.state === "failed" || data.job.state === "cancelled") {
    return (
      <Stack align="flex-start">
        <Text>{data ? "The last inspection did not end well." : "Nobody has inspected it yet: counts, sizes, intensities, classes, pictures and warnings are made by a short job."}</Text>
        <Inspect dataset={dataset} />
      </Stack>
    );
  }
  if (!data.report) {
    return (
      <Stack gap="xs">
        <Group gap="xs"><Link className="link" to="/jobs/$id" params={{ id: data.job.id }}>The inspection</Link><StateBadge state={data.job.state} /></Group>
        <JobProgress job={data.job} wide />
      </Stack>
    );
  }
  return <>{children({ ...data, report: data.report })}</>;
}

export function Inspect({ dataset }: { dataset: Dataset }) {
  const me = useQuery(meQuery());
  const queries = useQueryClient();
  const key = useRef<string>(undefined);
  const start = useMutation({
    mutationFn: async () => {
      const body = { kind: "inspect_dataset", name: `inspect ${dataset.name}`.slice(0, 128), project: dataset.project_id, spec: { dataset: dataset.id } };
      return api.POST("/v1/jobs", { body: body as never, params: { header: { "Idempotency-Key": (key.current ??= requestKey()) } } });
    },
    onSuccess: () => {
      key.current = undefined;
      void queries.invalidateQueries({ queryKey: ["inspection", dataset.id] });
    },
  });
  if (dataset.state !== "ready" || !me.data || me.data.role === "viewer") return null;
  return (
    <>
      <Button variant="default" loading={start.isPending} onClick={() => start.mutate()}>Inspect it</Button>
      {start.error && <Failure error={start.error} />}
    </>
  );
}

export function Numbers({ dataset }: { dataset: Dataset }) {
  return (
    <Inspected dataset={dataset}>
      {({ report, job, artifacts }) => (
        <Stack>
          <Group gap="md">
            <Text size="sm" c="dimmed">Inspected {ago(job.finished_at)} by <Link className="link" to="/jobs/$id" params={{ id: job.id }}>{job.name}</Link>.</Text>
            {artifacts.filter((each) => each.name === "report.html").map((each) => <a key={each.name} className="link small" href={each.url} target="_blank" rel="noreferrer">The report as one page</a>)}
          </Group>
          <Warnings report={report} />
          <SimpleGrid cols={{ base: 1, lg: 2 }}>
            <Facts report={report} />
            {Object.values(report.classes).some((each) => Object.keys(each).length > 0) && <Balance report={report} />}
            {Object.entries(report.intensities).map(([split, found]) => <Values key={split} title={`Intensities, ${split}`} found={found} />)}
            {report.foreground && <Values title="Intensities of voxels with a label" found={report.foreground} />}
          </SimpleGrid>
        </Stack>
      )}
    </Inspected>
  );
}

function Panel({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <Card withBorder component="section" aria-label={title} padding="md">
      <Title order={2} size="h5" mb="xs">{title}</Title>
      {children}
    </Card>
  );
}

function Warnings({ report }: { report: Report }) {
  if (!report.warnings.length) return <Alert color="green" variant="light" title="Nothing odd was found" />;
  return (
    <Alert color="orange" variant="light" title={`${number(report.warnings.length)} ${report.warnings.length === 1 ? "warning" : "warnings"}`}>
      <Stack gap="xs">
        {report.warnings.map((each) => (
          <div key={each.code}>
            <Text size="sm" fw={600}>{each.code.replaceAll("_", " ")}{each.count > 1 ? `, ${number(each.count)} times` : ""}</Text>
            <Text size="sm">{each.detail.replace(/\.$/, "")}. {each.advice}</Text>
            {each.where.length > 0 && <Text size="xs">{each.where.slice(0, 5).join(", ")}{each.where.length > 5 || each.count > each.where.length ? ", …" : ""}</Text>}
          </div>
        ))}
      </Stack>
    </Alert>
  );
}

const range = (found: { minimum: number; median: number; maximum: number }) =>
  found.minimum === found.maximum ? number(found.minimum) : `${number(found.minimum)} to ${number(found.maximum)}, median ${number(found.median)}`;

function Facts({ report }: { report: Report }) {
  const axes = report.size.length === 3 ? ["depth", "height", "width"] : ["height", "width"];
  const counted = (found: Record<string, number>) => Object.entries(found).map(([name, count]) => `${number(count)} ${name}`).join(", ");
  const rows: [string, string][] = [
    ["samples", `${number(report.samples)} (${counted(report.splits)})`],
    ...(Object.keys(report.files).length ? [["files", counted(report.files)] as [string, string]] : []),
    ...(Object.keys(report.patients).length ? [["patients", counted(report.patients)] as [string, string]] : []),
    ...report.size.map((each, at): [string, string] => [axes[at] ?? `axis ${at + 1}`, `${range(each)} ${report.size.length === 3 ? "voxels" : "pixels"}`]),
    ...report.spacing.map((each, at): [string, string] => [`spacing ${report.spacing.length === 3 ? ["z", "y", "x"][at] : ["y", "x"][at]}`, `${range(each)} mm`]),
    ...(report.target_spacing ? [["target spacing", `${report.target_spacing.map((each) => number(each)).join(" × ")} mm (nnU-Net)`] as [string, string]] : []),
    ...(Object.keys(report.types).length ? [["stored as", Object.keys(report.types).join(", ")] as [string, string]] : []),
    ...(report.masks ? [["masks", number(report.masks)] as [string, string]] : []),
    ...(report.texts ? [["reports", `${number(report.texts.reports)}, ${number(report.texts.empty)} of them empty, ${number(report.texts.vocabulary)} different words`] as [string, string]] : []),
    ...(report.texts?.words ? [["words", range(report.texts.words)] as [string, string]] : []),
  ];
  return (
    <Panel title="What it holds">
      <dl className="figures">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd><Text size="sm">{value}</Text></dd></div>)}</dl>
    </Panel>
  );
}

/** Samples of each class, as bars beside their numbers. */
function Balance({ report }: { report: Report }) {
  const most = Math.max(1, ...Object.values(report.classes).flatMap((each) => Object.values(each)));
  return (
    <Panel title="Class balance">
      <table className="bars">
        <thead><tr><th scope="col">Split</th><th scope="col">Class</th><th scope="col">Samples</th></tr></thead>
        <tbody>
          {Object.entries(report.classes).flatMap(([split, classes]) => {
            const all = Object.values(classes).reduce((sum, each) => sum + each, 0);
            return Object.entries(classes).map(([name, count], at) => (
              <tr key={`${split} ${name}`}>
                <td>{at === 0 ? split : ""}</td>
                <th scope="row">{name}</th>
                <td><span className="bar" style={{ width: `${(100 * count) / most}%` }} /><span>{number(count)} ({percent(all ? count / all : 0)})</span></td>
              </tr>
            ));
          })}
        </tbody>
      </table>
    </Panel>
  );
}

function Values({ title, found }: { title: string; found: Intensities }) {
  const points = ["0.5", "50", "99.5"].flatMap((each) => (found.percentiles[each] === undefined ? [] : [`${each} %: ${number(found.percentiles[each])}`]));
  return (
    <Panel title={title}>
      <Histogram title={title} start={found.start} width={found.width} counts={found.counts} />
      <Text size="xs" c="dimmed">{number(found.minimum)} to {number(found.maximum)}, mean {number(found.mean)}, standard deviation {number(found.std)}; percentiles {points.join(", ")}</Text>
    </Panel>
  );
}
