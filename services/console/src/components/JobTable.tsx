import { Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef } from "react";

import type { Job } from "../api/client";
import { ago, duration, moment } from "../format";
import { JobProgress, StateBadge } from "./State";

const ROW_PX = 53;

/** What a job is doing, waiting for, or has failed of, in one line. */
export function reasonOf(job: Job): string | null {
  if (job.state === "failed") return job.error ? String(job.error.detail ?? job.error.title ?? "") : null;
  return job.reason;
}

function Row({ job, index }: { job: Job; index: number }) {
  const reason = reasonOf(job);
  return (
    <tr aria-rowindex={index + 2} data-job={job.id}>
      <td className="one">
        <Link className="link" to="/jobs/$id" params={{ id: job.id }} title={job.name}>{job.name}</Link>
        <Text size="xs" c="dimmed">{job.kind}{job.tags.length ? ` · ${job.tags.join(", ")}` : ""}</Text>
      </td>
      <td><StateBadge state={job.state} /></td>
      <td className="one" title={reason ?? undefined}>
        {job.state === "running" && job.progress ? <JobProgress job={job} /> : <Text size="sm" truncate>{reason ?? ""}</Text>}
      </td>
      <td className="num spare">{job.attempt ? `${job.attempt} of ${job.max_attempts}` : "–"}</td>
      <td className="num">{job.ran_s ? duration(job.ran_s) : "–"}</td>
      <td className="one spare">{job.created_by}</td>
      <td className="num" title={moment(job.created_at)}>{ago(job.created_at)}</td>
    </tr>
  );
}

interface Props {
  jobs: readonly Job[];
  label: string;
  /** Called when the last rows come into view. */
  more?: (() => void) | undefined;
  height: string;
}

/** Jobs as rows; only those in view are drawn, however many there are. */
export function JobTable({ jobs, label, more, height }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: jobs.length, getScrollElement: () => scroller.current, estimateSize: () => ROW_PX, overscan: 12,
    getItemKey: (index) => jobs[index]?.id ?? index,
  });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= jobs.length - 30) more();
  }, [more, last, jobs.length]);
  const before = shown[0]?.start ?? 0;
  const after = rows.getTotalSize() - (shown.at(-1)?.end ?? 0);
  return (
    <div ref={scroller} className="scroll" style={{ maxHeight: height }} tabIndex={0} role="region" aria-label={label}>
      <table className="rows" aria-rowcount={jobs.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            <th scope="col">Job</th><th scope="col">State</th><th scope="col">Progress, or why</th>
            <th scope="col" className="num spare">Attempt</th><th scope="col" className="num">Ran for</th>
            <th scope="col" className="spare">Owner</th><th scope="col" className="num">Submitted</th>
          </tr>
        </thead>
        <tbody>
          {before > 0 && <tr className="spacer" aria-hidden><td colSpan={7} style={{ height: before }} /></tr>}
          {shown.map(({ index }) => {
            const job = jobs[index];
            return job && <Row key={job.id} job={job} index={index} />;
          })}
          {after > 0 && <tr className="spacer" aria-hidden><td colSpan={7} style={{ height: after }} /></tr>}
        </tbody>
      </table>
    </div>
  );
}
