import "../forms/forms.css";
import "./dataset/dataset.css";

import { Alert, Anchor, Breadcrumbs, Button, Card, Group, Tabs, Text } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";

import { More } from "../components/More";
import { filesQuery, inspectionQuery } from "../api/datasets";
import type { Dataset as Row } from "../api/client";
import { datasetQuery, meQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { Gone, isGone, LOOKS_MS } from "../components/Gone";
import { Output } from "../components/Output";
import { StateBadge } from "../components/State";
import type { Values } from "../forms/schema";
import { newJob } from "../forms/start";
import { ago, bytes, moment, number } from "../format";
import type { DATASET_TABS } from "../router";
import { Heading } from "../Shell";
import { Numbers } from "./dataset/Numbers";
import { Samples } from "./dataset/Samples";
import { Versions } from "./dataset/Versions";

export default function Dataset() {
  const { id } = useParams({ from: "/datasets/$id" });
  return <Page key={id} id={id} />;
}

function Page({ id }: { id: string }) {
  const { tab = "samples" } = useSearch({ from: "/datasets/$id" });
  const navigate = useNavigate({ from: "/datasets/$id" });
  const found = useQuery({ ...datasetQuery(id), refetchInterval: ({ state }) => (isGone(state.error) ? false : LOOKS_MS) });
  if (found.error && !found.data) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Text c="dimmed">Looking …</Text>;
  const dataset = found.data;
  if (isGone(found.error)) return <Gone what="dataset" name={dataset.name} to="/datasets" />;
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/datasets">Datasets</Link><Text size="sm" c="dimmed">{dataset.id}</Text></Breadcrumbs>
      <Heading aside={<Next dataset={dataset} />}><bdi>{dataset.name}</bdi> <StateBadge state={dataset.state} /></Heading>
      {dataset.state === "uploading" && (
        <Alert color="blue" variant="light" mb="md" title="Its files are still arriving">
          After a break, <Link className="link" to="/datasets/upload">choose the same folder</Link> under the name {dataset.name} again: what has arrived is not sent twice.
        </Alert>
      )}
      <Summary dataset={dataset} />
      <Tabs value={tab} mt="md" keepMounted={false} onChange={(to) => void navigate({ search: (old) => ({ ...old, tab: to as (typeof DATASET_TABS)[number] }), replace: true })}>
        <Tabs.List mb="md">
          <Tabs.Tab value="samples">Samples</Tabs.Tab>
          <Tabs.Tab value="numbers">Numbers</Tabs.Tab>
          <Tabs.Tab value="bad">Bad files{dataset.bad_files.length ? ` (${number(dataset.bad_files.length)})` : ""}</Tabs.Tab>
          <Tabs.Tab value="files">Files</Tabs.Tab>
          <Tabs.Tab value="versions">Versions</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="samples"><Samples dataset={dataset} /></Tabs.Panel>
        <Tabs.Panel value="numbers"><Numbers dataset={dataset} /></Tabs.Panel>
        <Tabs.Panel value="bad"><Bad dataset={dataset} /></Tabs.Panel>
        <Tabs.Panel value="files"><Files dataset={dataset} /></Tabs.Panel>
        <Tabs.Panel value="versions"><Versions dataset={dataset} /></Tabs.Panel>
      </Tabs>
    </>
  );
}

/** What is usually done with it next, with the form filled in. */
function Next({ dataset }: { dataset: Row }) {
  const me = useQuery(meQuery());
  if (dataset.state !== "ready" || !me.data || me.data.role === "viewer") return null;
  const { data } = me;
  const to = (kind: string, spec: Values) => newJob(data, dataset.project_id, kind, spec);
  return (
    <Group gap="xs">
      {dataset.role === "raw" && <Button component={Link} {...to("preprocess", { dataset: dataset.id })}>Prepare it</Button>}
      {dataset.role === "prepared" && <Button component={Link} {...to("pretrain", { dataset: dataset.id })}>Pre-train on it</Button>}
      {dataset.role === "prepared" && (dataset.classes || dataset.has_masks) && (
        <Button component={Link} variant="default" {...to("finetune", { dataset: dataset.id, task: dataset.has_masks ? "segmentation" : "classification" })}>Fine-tune on it</Button>
      )}
    </Group>
  );
}

function Summary({ dataset }: { dataset: Row }) {
  const splits = Object.entries(dataset.splits ?? {}).filter(([, count]) => count).map(([name, count]) => `${number(count)} ${name}`);
  const rows: [string, React.ReactNode][] = [
    ["role", dataset.role], ["modality", dataset.modality ?? "–"],
    ...(dataset.samples == null ? [] : ([["samples", `${number(dataset.samples)}${splits.length ? ` (${splits.join(", ")})` : ""}`]] as [string, string][])),
    ...(dataset.sample_shape ? ([["shape", dataset.sample_shape.join(" × ")]] as [string, string][]) : []),
    ...(dataset.classes?.length ? ([["classes", dataset.classes.join(", ")]] as [string, string][]) : []),
    ["files", `${number(dataset.file_count)}, ${bytes(dataset.total_bytes)}`],
    ["made", <span key="made" title={moment(dataset.created_at)}>{ago(dataset.created_at)}</span>],
    ...(dataset.job_id ? ([["by", <Link key="by" className="link" to="/jobs/$id" params={{ id: dataset.job_id }}>{dataset.job_id}</Link>]] as [string, React.ReactNode][]) : []),
    ...(dataset.parents.length ? ([["from", <Parents key="from" ids={dataset.parents} />]] as [string, React.ReactNode][]) : []),
    ...(dataset.tags.length ? ([["tags", dataset.tags.join(", ")]] as [string, string][]) : []),
    ...(dataset.description ? ([["description", dataset.description]] as [string, string][]) : []),
  ];
  return (
    <Card withBorder padding="sm">
      <dl className="facts">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </Card>
  );
}

function Parents({ ids }: { ids: string[] }) {
  return (
    <Group gap="xs">
      {ids.slice(0, 6).map((id) => <Output key={id} id={id} />)}
      {ids.length > 6 && <Text size="sm">and {ids.length - 6} more</Text>}
    </Group>
  );
}

/** Files that could not be used: by the job that made it, and by the newest inspection. */
function Bad({ dataset }: { dataset: Row }) {
  const inspection = useQuery(inspectionQuery(dataset.id));
  const report = inspection.data?.report;
  const rows = [
    ...dataset.bad_files.map((each) => ({ ...each, by: "preparation" })),
    ...(report?.unreadable ?? []).map((each) => ({ ...each, by: "inspection: cannot be read" })),
    ...(report?.left_out ?? []).map((each) => ({ ...each, by: "inspection: no image for training" })),
  ];
  if (!rows.length) {
    return <Text size="sm" c="dimmed">{dataset.role === "raw" && !report ? "A job that prepares or inspects it tells which files cannot be used." : "Every file could be used."}</Text>;
  }
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Files that could not be used">
      <table className="rows">
        <thead><tr><th scope="col">File</th><th scope="col">Why</th><th scope="col">Found by</th></tr></thead>
        <tbody>{rows.slice(0, 1000).map((each) => <tr key={each.by + each.path}><td>{each.path}</td><td>{each.reason}</td><td>{each.by}</td></tr>)}</tbody>
      </table>
    </div>
  );
}

function Files({ dataset }: { dataset: Row }) {
  const found = useInfiniteQuery(filesQuery(dataset.id, 100));
  const files = found.data?.pages.flatMap((page) => page.items) ?? [];
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  return (
    <>
      <div className="scroll" tabIndex={0} role="region" aria-label="Stored files">
        <table className="rows">
          <thead><tr><th scope="col">File</th><th scope="col" className="num">Size</th><th scope="col">SHA-256</th></tr></thead>
          <tbody>
            {files.map((each) => (
              <tr key={each.path}>
                <td><Anchor href={each.url} size="sm" target="_blank" rel="noreferrer">{each.path}</Anchor></td>
                <td className="num">{bytes(each.size)}</td>
                <td className="one" title={each.sha256}><Text size="xs" ff="monospace">{each.sha256.slice(0, 16)} …</Text></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <More of={found}>More of {number(dataset.file_count)}</More>
    </>
  );
}
