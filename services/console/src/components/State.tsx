import { Badge, Group, Progress, Text, Tooltip } from "@mantine/core";

import type { Job } from "../api/client";
import { duration, percent } from "../format";

const COLORS: Record<string, string> = {
  waiting: "gray", queued: "grape", running: "blue", paused: "orange", succeeded: "green", failed: "red", cancelled: "gray",
  idle: "green", draining: "orange", gone: "red", ready: "green", uploading: "blue",
  reused: "teal", active: "green", expired: "orange", revoked: "red", loading: "blue", building: "blue", updating: "blue",
};

export function StateBadge({ state }: { state: string }) {
  return (
    <Badge variant="light" color={COLORS[state] ?? "gray"} className="state" data-state={state} tt="none">
      {state}
    </Badge>
  );
}

/** How far a job is; the bar has its numbers as text, too. */
export function JobProgress({ job, wide = false }: { job: Pick<Job, "progress" | "state" | "name">; wide?: boolean }) {
  const { progress } = job;
  if (!progress || (job.state !== "running" && job.state !== "paused")) return null;
  const words = `${percent(progress.fraction)}${progress.eta_s == null ? "" : `, ${duration(progress.eta_s)} to go`}`;
  return (
    <Tooltip label={progress.message ?? words} disabled={!progress.message}>
      <Group gap="xs" wrap="nowrap" w={wide ? "100%" : undefined}>
        <Progress.Root size={wide ? "lg" : "sm"} style={{ flexGrow: 1, minWidth: 90 }}>
          <Progress.Section value={100 * progress.fraction} aria-label={`progress of ${job.name}`} />
        </Progress.Root>
        <Text size="xs" style={{ whiteSpace: "nowrap" }}>{words}</Text>
      </Group>
    </Tooltip>
  );
}
