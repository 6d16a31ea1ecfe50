import { Button, Group, Popover, Stack, Text } from "@mantine/core";
import { IconCopy, IconPlayerPause, IconPlayerPlay, IconPlayerStop, IconRefresh } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useRef, useState } from "react";

import { api, type Job, Refused, requestKey } from "../../api/client";
import { OVER } from "../../api/live";
import { meQuery } from "../../api/queries";

type Verb = "cancel" | "pause" | "resume";

async function ask(verb: Verb, id: string): Promise<void> {
  const params = { path: { job_id: id } };
  if (verb === "cancel") await api.POST("/v1/jobs/{job_id}/cancel", { params });
  else if (verb === "pause") await api.POST("/v1/jobs/{job_id}/pause", { params });
  else await api.POST("/v1/jobs/{job_id}/resume", { params });
}

/** Submit the same job once more. The key of the request makes a second click the same job. */
async function again(job: Job, key: string): Promise<Job> {
  const { kind, spec, name, notes, tags, priority, max_attempts, retry, resources, time_limit_s } = job;
  const body = { kind, spec, name, notes, tags, priority, max_attempts, retry, resources, time_limit_s, project: job.project_id, depends_on: [] };
  const made = await api.POST("/v1/jobs", { body: body as never, params: { header: { "Idempotency-Key": key } } });
  return made.data as Job;
}

/** What can be done with a job in its state, by whoever may. */
export function Actions({ job }: { job: Job }) {
  const me = useQuery(meQuery());
  const queries = useQueryClient();
  const navigate = useNavigate();
  const key = useRef<string>(undefined);
  const changed = () => queries.invalidateQueries({ queryKey: ["job", job.id] });
  const change = useMutation({ mutationFn: (verb: Verb) => ask(verb, job.id), onSettled: changed });
  const retry = useMutation({
    mutationFn: () => again(job, (key.current ??= requestKey())),
    onSuccess: (made) => void navigate({ to: "/jobs/$id", params: { id: made.id }, search: {} }),
  });
  if (!me.data || me.data.role === "viewer") return null;
  const over = OVER.has(job.state);
  const problem = change.error ?? retry.error;
  return (
    <Stack gap={4} align="flex-end">
      <Group gap="xs">
        {["waiting", "queued", "running"].includes(job.state) && (
          <Button variant="default" leftSection={<IconPlayerPause size={16} aria-hidden />} loading={change.isPending}
            onClick={() => change.mutate("pause")}>Pause</Button>
        )}
        {job.state === "paused" && (
          <Button leftSection={<IconPlayerPlay size={16} aria-hidden />} loading={change.isPending} onClick={() => change.mutate("resume")}>
            Resume
          </Button>
        )}
        {!over && <Cancel job={job} cancel={() => change.mutate("cancel")} busy={change.isPending} />}
        {!job.parent && (
          <Button component={Link} to="/jobs/new" search={{ from: job.id } as never} variant="default" leftSection={<IconCopy size={16} aria-hidden />}>
            Run again with changes
          </Button>
        )}
        {over && !job.parent && (
          <Button variant="default" leftSection={<IconRefresh size={16} aria-hidden />} loading={retry.isPending} onClick={() => retry.mutate()}>
            {job.state === "succeeded" ? "Run again" : "Try again"}
          </Button>
        )}
      </Group>
      {problem && <Text size="sm" c="red" role="alert">{problem instanceof Refused ? problem.message : String(problem)}</Text>}
    </Stack>
  );
}

function Cancel({ job, cancel, busy }: { job: Job; cancel: () => void; busy: boolean }) {
  const [opened, setOpened] = useState(false);
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-end" trapFocus withArrow>
      <Popover.Target>
        <Button variant="default" leftSection={<IconPlayerStop size={16} aria-hidden />} loading={busy} onClick={() => setOpened(!opened)}>
          Cancel
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Cancel the job?">
        <Text size="sm" maw={260}>
          {job.state === "running" ? "It writes a checkpoint and ends. A cancelled job cannot go on." : "A cancelled job cannot go on."}
        </Text>
        <Group mt="sm" justify="flex-end" gap="xs">
          <Button size="xs" variant="default" onClick={() => setOpened(false)}>Keep it</Button>
          <Button size="xs" color="red" onClick={() => { setOpened(false); cancel(); }}>Cancel the job</Button>
        </Group>
      </Popover.Dropdown>
    </Popover>
  );
}
