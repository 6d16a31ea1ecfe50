import { Button, Group, MultiSelect, Progress, Text } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";

import { More } from "../components/More";
import type { JobState } from "../api/client";
import { STATES } from "../api/live";
import { type Pipeline, pipelinesQuery } from "../api/pipelines";
import { Failure } from "../components/Failure";
import { StateBadge } from "../components/State";
import { ago, duration, moment } from "../format";
import type { PipelinesSearch } from "../router";
import { Heading } from "../Shell";
import { Words } from "./Jobs";

export default function Pipelines() {
  const search = useSearch({ from: "/pipelines" });
  const navigate = useNavigate({ from: "/pipelines" });
  const found = useInfiniteQuery(pipelinesQuery(search));
  const set = (change: Partial<PipelinesSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const pipelines = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <Heading aside={<Button component={Link} to="/curricula/new" leftSection={<IconPlus size={16} aria-hidden />}>New curriculum</Button>}>Pipelines</Heading>
      <Group mb="md" align="flex-end" gap="sm">
        <MultiSelect label="State" data={[...STATES]} value={search.state ?? []} w={240} clearable
          placeholder={search.state ? undefined : "any"} onChange={(state) => set({ state: state as JobState[] })} />
        <Words label="Name" hint="begins with" value={search.name} set={(name) => set({ name })} />
      </Group>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.isSuccess && pipelines.length === 0 && (
        <Text c="dimmed">No pipeline is like that. A curriculum of several modalities becomes one.</Text>
      )}
      {pipelines.length > 0 && (
        <div className="scroll" tabIndex={0} role="region" aria-label="Pipelines">
          <table className="rows">
            <thead>
              <tr>
                <th scope="col">Pipeline</th><th scope="col">State</th><th scope="col">Progress</th><th scope="col">Steps</th>
                <th scope="col">Owner</th><th scope="col" className="num">Submitted</th>
              </tr>
            </thead>
            <tbody>{pipelines.map((each) => <Row key={each.id} pipeline={each} />)}</tbody>
          </table>
        </div>
      )}
      <More of={found} />
    </>
  );
}

function Row({ pipeline }: { pipeline: Pipeline }) {
  const { progress } = pipeline;
  return (
    <tr data-pipeline={pipeline.id}>
      <td className="one">
        <Link className="link" to="/pipelines/$pipelineId" params={{ pipelineId: pipeline.id }}>{pipeline.name}</Link>
        <Text size="xs" c="dimmed">{pipeline.id}</Text>
      </td>
      <td><StateBadge state={pipeline.state} /></td>
      <td>
        <Progress.Root size="sm" miw={120}>
          <Progress.Section value={100 * progress.fraction} aria-label={`progress of ${pipeline.name}`} />
        </Progress.Root>
        <Text size="xs" c="dimmed">{progress.eta_s == null ? progress.message : `${duration(progress.eta_s)} to go`}</Text>
      </td>
      <td>{progress.done} of {progress.total}</td>
      <td className="one">{pipeline.created_by}</td>
      <td className="num" title={moment(pipeline.created_at)}>{ago(pipeline.created_at)}</td>
    </tr>
  );
}
