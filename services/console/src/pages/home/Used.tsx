import { Progress, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";

import { type Usage, usageQuery } from "../../api/admin";
import { meQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { bytes, number } from "../../format";

const SORTS = ["datasets", "models", "evaluations", "indexes", "artifacts"] as const;

/** How long the queue is, what is left of one's quotas, what is stored, and how full the disk is. */
export function Used() {
  const { project } = useSearch({ from: "__root__" });
  const found = useQuery(usageQuery(project));
  const me = useQuery(meQuery());
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Text size="sm" c="dimmed">Looking …</Text>;
  const usage = found.data;
  const own = usage.owners.find((each) => each.owner === me.data?.owner) ?? { running: 0, waiting: 0 };
  const sum = (of: (each: Usage["projects"][number]) => number) => usage.projects.reduce((all, each) => all + of(each), 0);
  const stored = SORTS.map((sort) => [sort, sum((each) => each[sort].bytes)] as const).filter(([, size]) => size > 0);
  return (
    <Stack gap="sm">
      <Text size="sm">
        Queue: <Link className="link" to="/jobs" search={{ state: ["running"] }}>{jobs(sum((each) => each.running))} run</Link>,{" "}
        <Link className="link" to="/jobs" search={{ state: ["queued", "waiting", "paused"] }}>{number(sum((each) => each.waiting))} wait</Link>
      </Text>
      <Against label="Your jobs that run" now={own.running} most={usage.quota_running} />
      <Against label="Your jobs that wait" now={own.waiting} most={usage.quota_queued} />
      <div>
        <Text size="sm">Stored: {bytes(sum((each) => each.total_bytes))}</Text>
        {stored.length > 0 && <Text size="xs" c="dimmed">{stored.map(([sort, size]) => `${sort} ${bytes(size)}`).join(", ")}</Text>}
      </div>
      {usage.disk && <DiskBar total={usage.disk.total_bytes} free={usage.disk.free_bytes} />}
    </Stack>
  );
}

const jobs = (count: number) => `${number(count)} ${count === 1 ? "job" : "jobs"}`;

/** A number beside what is allowed; nothing where all is. */
function Against({ label, now, most }: { label: string; now: number; most: number | null }) {
  if (most == null) return null;
  return (
    <div>
      <Text size="sm">{label}: {number(now)} of {number(most)}</Text>
      <Progress value={Math.min(100, (100 * now) / most)} color={now >= most ? "orange" : undefined} aria-label={label} />
    </div>
  );
}

function DiskBar({ total, free }: { total: number; free: number }) {
  const isTight = free < 0.1 * total;
  return (
    <div>
      <Text size="sm">Disk: {bytes(free)} of {bytes(total)} free</Text>
      <Progress value={(100 * (total - free)) / total} color={isTight ? "red" : undefined} aria-label="share of the disk that is used" />
      {isTight && <Text size="sm" mt={4}>It is nearly full: jobs fail without space. `medcoss gc` tells what can be removed.</Text>}
    </div>
  );
}
