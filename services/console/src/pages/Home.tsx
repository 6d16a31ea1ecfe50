import { Anchor, Card, Group, List, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";

import type { Job, JobState, Worker } from "../api/client";
import { evaluationsQuery } from "../api/models";
import { jobsHead, modelsQuery, workersQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { reasonOf } from "../components/JobTable";
import { JobProgress, StateBadge } from "../components/State";
import { ago, bytes, moment, number, percent } from "../format";
import { Heading } from "../Shell";
import { FirstSteps } from "./home/FirstSteps";
import { Used } from "./home/Used";

const SHOWN = 8;

export default function Home() {
  return (
    <>
      <Heading>Home</Heading>
      <FirstSteps />
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        <Jobs title="Running" states={["running"]} none="Nothing runs." live />
        <Jobs title="Waiting" states={["queued", "waiting", "paused"]} none="Nothing waits." />
        <Jobs title="Failed" states={["failed"]} none="Nothing has failed." />
        <Workers />
        <Panel title="Disk and queue"><Used /></Panel>
        <Models />
      </SimpleGrid>
    </>
  );
}

function Panel({ title, more, children }: { title: string; more?: React.ReactNode; children: React.ReactNode }) {
  const id = `panel-${title.replaceAll(" ", "-").toLowerCase()}`;
  return (
    <Card withBorder component="section" aria-labelledby={id} padding="md">
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h4" id={id}>{title}</Title>
        {more}
      </Group>
      {children}
    </Card>
  );
}

interface Asked {
  title: string;
  states: JobState[];
  none: string;
  live?: boolean;
}

function Jobs({ title, states, none, live = false }: Asked) {
  const { project } = useSearch({ from: "__root__" });
  const found = useQuery({ ...jobsHead({ project, state: states }, SHOWN), refetchInterval: live ? 5000 : false });
  const jobs = found.data?.items ?? [];
  const all = (
    <Link className="link" to="/jobs" search={{ state: states }}>
      {found.data?.next ? `all, more than ${jobs.length}` : `all ${jobs.length}`}
    </Link>
  );
  return (
    <Panel title={title} more={jobs.length > 0 && all}>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <Text size="sm" c="dimmed">Looking …</Text>}
      {found.isSuccess && jobs.length === 0 && <Text size="sm" c="dimmed">{none}</Text>}
      <Stack gap="sm">{jobs.map((job) => <Item key={job.id} job={job} />)}</Stack>
    </Panel>
  );
}

function Item({ job }: { job: Job }) {
  const advice = job.state === "failed" && Array.isArray(job.error?.advice) ? (job.error.advice as string[]) : [];
  return (
    <div>
      <Group justify="space-between" gap="xs" wrap="nowrap">
        <Text size="sm" truncate>
          <Link className="link" to="/jobs/$id" params={{ id: job.id }}>{job.name}</Link>
          <Text span size="xs" c="dimmed"> {job.kind}</Text>
        </Text>
        <Group gap="xs" wrap="nowrap">
          {job.state === "failed" && <Text size="xs" c="dimmed" title={moment(job.finished_at)}>{ago(job.finished_at)}</Text>}
          <StateBadge state={job.state} />
        </Group>
      </Group>
      {job.state === "running" && <JobProgress job={job} wide />}
      {reasonOf(job) && <Text size="sm" lineClamp={3}>{reasonOf(job)}</Text>}
      {advice.length > 0 && (
        <List size="sm" mt={2} aria-label="What to try">
          {advice.slice(0, 3).map((each) => <List.Item key={each}>{each}</List.Item>)}
        </List>
      )}
    </div>
  );
}

function load(worker: Worker): string {
  if (!worker.gpus) return `${worker.cpus} CPUs, ${bytes(worker.memory_bytes)}`;
  const busy = worker.gpu_utilisation == null ? "" : `, ${percent(worker.gpu_utilisation)} busy`;
  const used = worker.gpu_memory_used_bytes == null ? "" : `, ${bytes(worker.gpu_memory_used_bytes)} used`;
  return `${worker.gpus} × ${worker.gpu_model ?? "GPU"}${busy}${used}`;
}

function Workers() {
  const found = useQuery(workersQuery());
  const workers = (found.data?.items ?? []).filter((each) => each.state !== "gone");
  const gone = (found.data?.items.length ?? 0) - workers.length;
  return (
    <Panel title="Workers">
      {found.error && <Failure error={found.error} />}
      {found.isSuccess && workers.length === 0 && (
        <Text size="sm">No worker is there: jobs wait until one starts.</Text>
      )}
      <Stack gap="sm">
        {workers.map((worker) => (
          <Group key={worker.name} justify="space-between" gap="xs" wrap="nowrap">
            <div>
              <Text size="sm">{worker.name}</Text>
              <Text size="xs" c="dimmed">{load(worker)}</Text>
            </div>
            <Group gap="xs" wrap="nowrap">
              {worker.job_id && <Link className="link" to="/jobs/$id" params={{ id: worker.job_id }}>its job</Link>}
              <StateBadge state={worker.state} />
            </Group>
          </Group>
        ))}
        {gone > 0 && <Text size="xs" c="dimmed">{gone} more were here in the last days and are gone.</Text>}
      </Stack>
    </Panel>
  );
}

function Models() {
  const { project } = useSearch({ from: "__root__" });
  const found = useInfiniteQuery(modelsQuery({ project }, SHOWN));
  const models = found.data?.pages[0]?.items ?? [];
  const reports = useInfiniteQuery({ ...evaluationsQuery({ project, model: models.map((each) => each.id), task: ["forgetting"] }), enabled: models.length > 0 });
  const lost = (id: string) => {
    const score = (reports.data?.pages[0]?.items.find((each) => each.model_id === id)?.metrics as Record<string, number> | undefined)?.average_forgetting;
    return score == null ? "" : `, forgetting ${number(score)}`;
  };
  return (
    <Panel title="Last models" more={models.length > 0 && <Link className="link" to="/models">all</Link>}>
      {found.error && <Failure error={found.error} />}
      {found.isSuccess && models.length === 0 && (
        <Text size="sm" c="dimmed">
          No model yet. <Anchor component={Link} to="/datasets" underline="always">Prepare data</Anchor>, then pre-train an encoder on it.
        </Text>
      )}
      <Stack gap="sm">
        {models.map((model) => (
          <Group key={model.id} justify="space-between" gap="xs" wrap="nowrap">
            <div>
              <Text size="sm"><Link className="link" to="/models/$modelId" params={{ modelId: model.id }}>{model.name}</Link></Text>
              <Text size="xs" c="dimmed">
                {model.task}, {model.size}{model.modalities.length ? `, ${model.modalities.join(" → ")}` : ""}
              </Text>
            </div>
            <Text size="xs" c="dimmed" ta="right">
              {headline(model.metrics)}{lost(model.id)}<br />{ago(model.created_at)}
            </Text>
          </Group>
        ))}
      </Stack>
    </Panel>
  );
}

const HEADLINES = ["val/dice", "dice", "val/auc", "auc", "accuracy", "reconstruction", "loss"];

/** The number that says most of a model. */
export function headline(metrics: Record<string, number>): string {
  const names = Object.keys(metrics);
  const found = HEADLINES.map((each) => names.find((name) => name === each) ?? names.find((name) => name.includes(each))).find(Boolean);
  return found ? `${found} ${number(metrics[found])}` : "";
}
