import { Alert, Breadcrumbs, Group, Progress, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useMemo } from "react";

import { goesOn, type Pipeline as Record, pipelineQuery, type Step } from "../api/pipelines";
import { Facts, type Fact } from "../components/Facts";
import { Failure } from "../components/Failure";
import { Graph } from "../components/Graph";
import { StateBadge } from "../components/State";
import { ago, duration, moment, percent } from "../format";
import { Heading } from "../Shell";
import { PipelineActions } from "./pipeline/Actions";
import { Steps } from "./pipeline/Steps";

export default function Pipeline() {
  const { pipelineId } = useParams({ from: "/pipelines/$pipelineId" });
  const found = useQuery(pipelineQuery(pipelineId));
  if (found.error && !found.data) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Text c="dimmed">Looking …</Text>;
  const pipeline = found.data;
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/pipelines">Pipelines</Link><Text size="sm" c="dimmed">{pipeline.id}</Text></Breadcrumbs>
      <Heading aside={<PipelineActions pipeline={pipeline} />}><bdi>{pipeline.name}</bdi> <StateBadge state={pipeline.state} /></Heading>
      <Stack gap="md">
        <Whole pipeline={pipeline} />
        <Failed steps={pipeline.steps} />
        <Drawn steps={pipeline.steps} />
        <Steps steps={pipeline.steps} />
      </Stack>
    </>
  );
}

function Whole({ pipeline }: { pipeline: Record }) {
  const { progress } = pipeline;
  const facts: Fact[] = [
    ["submitted", <span key="at" title={moment(pipeline.created_at)}>{ago(pipeline.created_at)} by {pipeline.created_by}</span>],
    ["began", moment(pipeline.started_at)],
    ["ended", moment(pipeline.finished_at)],
  ];
  if (pipeline.rerun_of) {
    facts.push(["repeats", (
      <Link key="of" className="link" to="/pipelines/$pipelineId" params={{ pipelineId: pipeline.rerun_of }}>{pipeline.rerun_of}</Link>
    )]);
  }
  if (pipeline.notes) facts.push(["notes", pipeline.notes]);
  const togo = goesOn(pipeline.state) && progress.eta_s != null ? `, ${duration(progress.eta_s)} to go` : "";
  return (
    <>
      <div>
        <Progress.Root size="lg">
          <Progress.Section value={100 * progress.fraction} aria-label={`progress of ${pipeline.name}`} />
        </Progress.Root>
        <Text size="sm" role="status">{percent(progress.fraction)}{togo}. {progress.message}</Text>
      </div>
      <Facts facts={facts} />
    </>
  );
}

/** Why it stopped, at the top: nobody should have to look for it among the steps. */
function Failed({ steps }: { steps: readonly Step[] }) {
  const failed = steps.filter((step) => step.state === "failed");
  if (!failed.length) return null;
  return (
    <Alert color="red" variant="light" title={failed.length === 1 ? `The step ${failed[0]?.name} has failed` : `${failed.length} steps have failed`}>
      {failed.map((step) => (
        <Text size="sm" key={step.name}>
          {failed.length > 1 && <b>{step.name}: </b>}
          {String(step.error?.detail ?? step.error?.title ?? "")}{" "}
          <Link className="link" to="/jobs/$id" params={{ id: step.job_id }}>its job</Link>
        </Text>
      ))}
      <Text size="sm" mt="xs">Retry runs what has failed and all that stands behind it; what has succeeded stays.</Text>
    </Alert>
  );
}

function Drawn({ steps }: { steps: readonly Step[] }) {
  const edges = useMemo(() => steps.flatMap((step) => step.depends_on.map((from) => ({ from, to: step.name }))), [steps]);
  const nodes = useMemo(
    () => steps.map((step) => ({ id: step.name, state: step.state, content: <Node step={step} /> })),
    [steps],
  );
  return (
    <section aria-labelledby="drawn">
      <Title order={2} size="h4" mb="xs" id="drawn">What follows what</Title>
      <Graph nodes={nodes} edges={edges} label="Steps as a graph" />
    </section>
  );
}

function Node({ step }: { step: Step }) {
  const share = step.state === "running" && step.progress ? step.progress.fraction : null;
  return (
    <Link to="/jobs/$id" params={{ id: step.job_id }}>
      <Group justify="space-between" wrap="nowrap" gap={6}>
        <Text size="sm" fw={600} truncate>{step.name}</Text>
        <StateBadge state={step.reused ? "reused" : step.state} />
      </Group>
      <Text size="xs" c="dimmed" truncate>
        {share == null ? step.kind : `${percent(share)}${step.progress?.eta_s == null ? "" : `, ${duration(step.progress.eta_s)} to go`}`}
      </Text>
      {share != null && <Progress value={100 * share} size="xs" mt={4} aria-label={`progress of ${step.name}`} />}
    </Link>
  );
}
