import { Text } from "@mantine/core";

import type { JobEvent } from "../../api/client";
import { StateBadge } from "../../components/State";
import { STATES } from "../../api/live";
import { moment } from "../../format";

/** What an event knows, as words. */
function said(event: JobEvent): string {
  const { reason, detail, title, ...rest } = event.data as Record<string, unknown>;
  const words = [reason, title, detail].filter((each) => typeof each === "string" && each);
  for (const [name, value] of Object.entries(rest)) {
    if (typeof value === "string" || typeof value === "number") words.push(`${name.replaceAll("_", " ")} ${value}`);
  }
  return words.join("; ");
}

/** Every change of the job's state, attempt by attempt. */
export function Attempts({ events }: { events: readonly JobEvent[] }) {
  if (!events.length) return <Text c="dimmed" size="sm">Nothing has happened yet.</Text>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Attempts">
      <table className="rows">
        <thead>
          <tr><th scope="col">When</th><th scope="col" className="num">Attempt</th><th scope="col">What</th><th scope="col">Why, where</th></tr>
        </thead>
        <tbody>
          {events.map((event) => (
            <tr key={event.seq}>
              <td>{moment(event.at)}</td>
              <td className="num">{event.attempt || "–"}</td>
              <td>{(STATES as readonly string[]).includes(event.type) ? <StateBadge state={event.type} /> : event.type.replaceAll("_", " ")}</td>
              <td>{said(event)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
