import { Text, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import type { Step } from "../../api/pipelines";
import { JobProgress, StateBadge } from "../../components/State";
import { duration, moment } from "../../format";
import { Made } from "./Made";

/** How long the job of a step has run; of one that still runs, until now. */
function ranFor(step: Step): string {
  if (!step.started_at) return step.expected_s == null ? "–" : `about ${duration(step.expected_s)}`;
  const end = step.finished_at ? new Date(step.finished_at).getTime() : Date.now();
  return duration((end - new Date(step.started_at).getTime()) / 1000);
}

/** All that is known of the steps, as a table: the graph for those who do not see it. */
export function Steps({ steps }: { steps: readonly Step[] }) {
  return (
    <section aria-labelledby="steps">
      <Title order={2} size="h4" mb="xs" id="steps">Steps</Title>
      <div className="scroll" tabIndex={0} role="region" aria-label="Steps">
        <table className="rows">
          <thead>
            <tr>
              <th scope="col">Step</th><th scope="col">State</th><th scope="col">Progress, or why</th><th scope="col">Needs</th>
              <th scope="col">Has made</th><th scope="col" className="num">Ran for</th>
            </tr>
          </thead>
          <tbody>
            {steps.map((step) => (
              <tr key={step.name} data-step={step.name}>
                <td>
                  <Link className="link" to="/jobs/$id" params={{ id: step.job_id }}>{step.name}</Link>
                  <Text size="xs" c="dimmed">{step.kind}{step.earlier_jobs.length ? `, tried ${step.earlier_jobs.length + 1} times` : ""}</Text>
                </td>
                <td><StateBadge state={step.state} />{step.reused && <Text size="xs" c="dimmed">done before, reused</Text>}</td>
                <td className="one" title={why(step)}>
                  {step.state === "running" && <JobProgress job={step} />}
                  <Text size="sm" truncate>{why(step)}</Text>
                </td>
                <td>{step.depends_on.join(", ") || "–"}</td>
                <td><Made outputs={step.outputs} /></td>
                <td className="num" title={step.started_at ? `${moment(step.started_at)} to ${moment(step.finished_at)}` : "as it was estimated"}>
                  {ranFor(step)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function why(step: Step): string {
  if (step.state === "failed") return String(step.error?.detail ?? step.error?.title ?? "");
  return step.reason ?? "";
}
