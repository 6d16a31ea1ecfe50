import { Text } from "@mantine/core";

import type { JobEvent } from "../../api/client";
import { StateBadge } from "../../components/State";
import { STATES } from "../../api/live";
import { moment } from "../../format";

const PLAIN = new Set(["detail", "reason", "title", "worker", "host"]);

/** What an event knows, as words; a problem within it by what it says. */
function said(data: Record<string, unknown>): string {
  const words: string[] = [];
  for (const [name, value] of Object.entries(data)) {
    if (typeof value === "string" || typeof value === "number") words.push(PLAIN.has(name) ? String(value) : `${name.replaceAll("_", " ")} ${value}`);
    else if (value && typeof value === "object" && !Array.isArray(value)) {
      const { detail, title } = value as { detail?: string; title?: string };
      if (detail ?? title) words.push(String(detail ?? title));
    }
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
              <td>{said(event.data)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
