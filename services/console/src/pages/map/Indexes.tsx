import { Alert, Button, Group, Text, Title } from "@mantine/core";
import { IconRefresh, IconTrash } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { deleteIndex, type Index, isBuilding, MOST, rebuildIndex } from "../../api/indexes";
import { jobQueryOf, meQuery } from "../../api/queries";
import { Confirm } from "../../components/Confirm";
import { Failure } from "../../components/Failure";
import { Output } from "../../components/Output";
import { JobProgress, StateBadge } from "../../components/State";
import { ago, bytes, moment, number } from "../../format";

/** How far the newest build of an index is, with a way to its job. */
export function Building({ index, wide = false }: { index: Index; wide?: boolean }) {
  const { build } = index;
  const isWaiting = isBuilding(index) && (build?.state === "queued" || build?.state === "waiting");
  // why it waits, as its own page says
  const job = useQuery({ ...jobQueryOf(build?.job_id ?? ""), enabled: isWaiting, refetchInterval: 5000 });
  if (!build || !isBuilding(index)) return null;
  const { fraction, eta_s, state, job_id } = build;
  return (
    <Group gap="xs" wrap="nowrap" data-building={index.name}>
      {fraction != null && (
        <JobProgress wide={wide} job={{ name: `the index ${index.name}`, state: "running", progress: { fraction, eta_s, done: 0, total: 0, message: null } }} />
      )}
      <Text size="xs" className="whole"><Output id={job_id}>its job</Output>{fraction == null || state !== "running" ? `, ${state}` : ""}{isWaiting && job.data?.reason ? `: ${job.data.reason}` : ""}</Text>
    </Group>
  );
}

/** Why there is no newer version, and that somebody can try again. */
export function Trouble({ index }: { index: Index }) {
  const why = index.trouble ?? index.build?.error;
  if (index.state !== "failed") return null;
  return (
    <Alert color="red" variant="light" mb="md" title={`${index.name} could not be built${index.version ? `; version ${index.version} goes on answering` : ""}`}>
      <Text size="sm">{why ?? `Its job was ${index.build?.state ?? "deleted"}.`} Rebuild it below once that is mended{index.build && <>, or look at <Output id={index.build.job_id}>its job</Output></>}.</Text>
    </Alert>
  );
}

/** All indexes with their state and what can be done with them. */
export function Indexes({ indexes, isCut }: { indexes: readonly Index[]; isCut: boolean }) {
  const me = useQuery(meQuery());
  const mayChange = me.data !== undefined && me.data.role !== "viewer";
  return (
    <section aria-labelledby="indexes">
      <Group justify="space-between" mt="lg" mb="xs">
        <Title order={2} size="h4" id="indexes">Indexes</Title>
        {mayChange && <Button component={Link} to="/map/new" variant="default">New index</Button>}
      </Group>
      <div className="scroll" tabIndex={0} role="region" aria-label="List of indexes">
        <table className="rows">
          <thead>
            <tr>
              <th scope="col">Name</th><th scope="col">State</th><th scope="col">Encoder</th><th scope="col" className="num spare">Datasets</th><th scope="col" className="num">Vectors</th>
              <th scope="col" className="num spare">Size</th><th scope="col" className="num">Built</th>{mayChange && <th scope="col"><span className="unseen">What to do</span></th>}
            </tr>
          </thead>
          <tbody>{indexes.map((each) => <Row key={each.id} index={each} mayChange={mayChange} />)}</tbody>
        </table>
      </div>
      {isCut && <Text size="sm" mt="xs">The newest {MOST} are shown; there are more.</Text>}
    </section>
  );
}

function Row({ index, mayChange }: { index: Index; mayChange: boolean }) {
  return (
    <tr data-index={index.name}>
      <td>
        <Link className="link" to="/map" search={{ index: index.id }}>{index.name}</Link>
        <Text size="xs" c="dimmed">{index.description || `of ${index.created_by}`}</Text>
      </td>
      <td><StateBadge state={index.state} /><Building index={index} /></td>
      <td>
        <Output id={index.encoder} />
        {index.model_id && index.model_id !== index.encoder && <Text size="xs" c="dimmed"><Output id={index.model_id} /></Text>}
      </td>
      <td className="num spare">{number(index.datasets.length)}</td><td className="num" title={bytes(index.total_bytes)}>{number(index.vectors)}</td><td className="num spare">{bytes(index.total_bytes)}</td>
      <td className="num" title={moment(index.built_at)}>{ago(index.built_at)}</td>
      {mayChange && <td><Changes index={index} /></td>}
    </tr>
  );
}

function Changes({ index }: { index: Index }) {
  const queries = useQueryClient();
  const change = useMutation({
    mutationFn: (to: (index: Index) => Promise<void>) => to(index),
    onSettled: () => queries.invalidateQueries({ queryKey: ["indexes"] }),
  });
  return (
    <>
      <Group gap="xs" justify="flex-end">
        {!isBuilding(index) && (
          <Confirm label="Rebuild" yes="Embed everything again" no="Leave it" danger={false} size="compact-sm" icon={<IconRefresh size={14} aria-hidden />} busy={change.isPending} does={() => change.mutate(rebuildIndex)}>
            Every study of {index.name} is embedded again{index.version ? `. Version ${index.version} answers until that is done` : ""}.
          </Confirm>
        )}
        <Confirm label="Delete" yes="Delete the index" size="compact-sm" icon={<IconTrash size={14} aria-hidden />} busy={change.isPending} does={() => change.mutate(deleteIndex)}>
          {index.name} goes with its vectors and its map, and nothing can be searched in it any more{isBuilding(index) ? "; the job that builds it is cancelled" : ""}. Its datasets and its encoder stay.
        </Confirm>
      </Group>
      {change.error && <Failure error={change.error} />}
    </>
  );
}
