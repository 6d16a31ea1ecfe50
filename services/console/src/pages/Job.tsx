import { Alert, Anchor, Breadcrumbs, Card, Group, List, Stack, Tabs, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useMemo, useState, useSyncExternalStore } from "react";

import type { Job as JobRecord, JobState } from "../api/client";
import { JobStreams, OVER, type Progress, type Reports } from "../api/live";
import { jobQueryOf } from "../api/queries";
import { Failure } from "../components/Failure";
import { Json } from "../components/Json";
import { JobProgress, StateBadge } from "../components/State";
import { ago, duration, moment } from "../format";
import type { JobSearch } from "../router";
import { Heading } from "../Shell";
import { Actions } from "./job/Actions";
import { Attempts } from "./job/Attempts";
import { Files } from "./job/Files";
import { Log } from "./job/Log";
import { Result } from "./job/Result";

const Curves = lazy(() => import("./job/Curves"));

/** The streams of this job and of those that are compared with it. */
function useStreams(ids: readonly string[]): JobStreams {
  const [streams] = useState(() => new JobStreams());
  const wanted = ids.join(",");
  useEffect(() => {
    streams.follow(wanted.split(","));
    return () => streams.follow([]);
  }, [streams, wanted]);
  useSyncExternalStore(streams.subscribe, streams.snapshot);
  return streams;
}

export default function Job() {
  const { id } = useParams({ from: "/jobs/$id" });
  // another job is another page: nothing of the last one stays
  return <Page key={id} id={id} />;
}

function Page({ id }: { id: string }) {
  const search = useSearch({ from: "/jobs/$id" });
  const navigate = useNavigate({ from: "/jobs/$id" });
  const queries = useQueryClient();
  const found = useQuery(jobQueryOf(id));
  const others = useMemo(() => (search.with ?? []).filter((each) => each !== id), [search.with, id]);
  const streams = useStreams(useMemo(() => [id, ...others], [id, others]));
  const reports = streams.of(id);
  const state = reports.progress?.state;
  useEffect(() => {
    if (state) void queries.invalidateQueries({ queryKey: ["job", id] });
  }, [state, reports.ended, queries, id]);
  if (found.error && !found.data) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Text c="dimmed">Looking …</Text>;
  const job = current(found.data, reports.progress);
  const tab = search.tab ?? "curves";
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/jobs">Jobs</Link><Text size="sm" c="dimmed">{job.id}</Text></Breadcrumbs>
      <Heading aside={<Actions job={job} />}><bdi>{job.name}</bdi> <StateBadge state={job.state} /></Heading>
      <Summary job={job} />
      <Tabs
        value={tab} mt="md" keepMounted={false}
        onChange={(to) => void navigate({ search: (old) => ({ ...old, tab: to as JobSearch["tab"] }), replace: true })}
      >
        <Tabs.List mb="md">
          <Tabs.Tab value="curves">Curves</Tabs.Tab>
          <Tabs.Tab value="log">Log</Tabs.Tab>
          <Tabs.Tab value="attempts">Attempts</Tabs.Tab>
          <Tabs.Tab value="files">Files</Tabs.Tab>
          <Tabs.Tab value="spec">Parameters</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="curves">
          <Suspense fallback={<Text c="dimmed">Loading …</Text>}>
            <Curves job={job} others={others} reportsOf={(each): Reports => streams.of(each)} />
          </Suspense>
        </Tabs.Panel>
        <Tabs.Panel value="log"><Log id={id} reports={reports} over={OVER.has(job.state)} /></Tabs.Panel>
        <Tabs.Panel value="attempts"><Attempts events={reports.events} /></Tabs.Panel>
        <Tabs.Panel value="files"><Files id={id} over={OVER.has(job.state)} /></Tabs.Panel>
        <Tabs.Panel value="spec"><Json value={job.spec} label="Parameters" /></Tabs.Panel>
      </Tabs>
    </>
  );
}

/** The record with what the stream has said since it was read. */
function current(job: JobRecord, now: Progress | null): JobRecord {
  if (!now || OVER.has(job.state)) return job;
  const { fraction, done, total, message, eta_s } = now;
  const progress = fraction == null ? job.progress : { fraction, done: done ?? 0, total: total ?? 0, message, eta_s };
  return { ...job, state: now.state as JobState, attempt: now.attempt, progress };
}

function Summary({ job }: { job: JobRecord }) {
  const facts: [string, React.ReactNode][] = [
    ["kind", job.kind],
    ["submitted", <span key="at" title={moment(job.created_at)}>{ago(job.created_at)} by {job.created_by}</span>],
    ["ran for", job.ran_s ? duration(job.ran_s) : "–"],
    ["attempt", job.attempt ? `${job.attempt} of ${job.max_attempts}` : "not yet begun"],
  ];
  if (job.worker) facts.push(["worker", job.worker]);
  if (job.checkpoint_step != null) facts.push(["last checkpoint", `step ${job.checkpoint_step}`]);
  if (job.parent) facts.push(["part of", <JobLink key="parent" id={job.parent} />]);
  if (job.depends_on.length) {
    facts.push(["needs", <Group key="needs" gap="xs">{job.depends_on.map((each) => <JobLink key={each} id={each} />)}</Group>]);
  }
  if (job.tags.length) facts.push(["tags", job.tags.join(", ")]);
  if (job.notes) facts.push(["notes", job.notes]);
  return (
    <Stack gap="sm">
      {job.progress && job.state === "running" && (
        <div>
          <JobProgress job={job} wide />
          <Text size="sm" c="dimmed">{job.progress.message}</Text>
        </div>
      )}
      {job.reason && <Alert variant="light" color="blue" title="Why it is so">{job.reason}</Alert>}
      {job.state === "failed" && job.error && <Why error={job.error} />}
      <Card withBorder padding="sm">
        <dl className="facts">
          {facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
        </dl>
      </Card>
      {job.result && <Result result={job.result} />}
    </Stack>
  );
}

function JobLink({ id }: { id: string }) {
  return <Anchor component={Link} to="/jobs/$id" params={{ id } as never} size="sm">{id}</Anchor>;
}

function Why({ error }: { error: Record<string, unknown> }) {
  const advice = Array.isArray(error.advice) ? (error.advice as string[]) : [];
  return (
    <Alert variant="light" color="red" title={`Failed: ${String(error.title ?? error.reason ?? "")}`}>
      <Text size="sm">{String(error.detail ?? "")}</Text>
      {advice.length > 0 && (
        <>
          <Text size="sm" fw={600} mt="xs">What to try</Text>
          <List size="sm">{advice.map((each) => <List.Item key={each}>{each}</List.Item>)}</List>
        </>
      )}
    </Alert>
  );
}
