import { Text } from "@mantine/core";

import type { Classified } from "../../api/gateway";
import { duration, percent } from "../../format";

/** The probability of each class, the likeliest first. */
export function Classes({ found }: { found: Classified }) {
  const rows = Object.entries(found.probabilities).sort(([, a], [, b]) => b - a);
  return (
    <section aria-label="Classes">
      <Text fw={600} mb="xs">{found.prediction}</Text>
      <table className="rows" aria-label="Probabilities">
        <thead><tr><th scope="col">Class</th><th scope="col" className="num">Probability</th><th scope="col"><span className="unseen">As a bar</span></th></tr></thead>
        <tbody>
          {rows.map(([name, share]) => (
            <tr key={name}>
              <td>{name}</td><td className="num">{percent(share)}</td>
              <td style={{ width: "60%" }}><div className="bar" aria-hidden><div style={{ width: `${100 * share}%` }} /></div></td>
            </tr>
          ))}
        </tbody>
      </table>
      <Text size="xs" c="dimmed" mt={4}>{took(found.timing_ms)}</Text>
    </section>
  );
}

export function took(timing: Record<string, number>): string {
  const total = timing.total ?? 0;
  return `answered in ${total < 1000 ? `${Math.round(total)} ms` : duration(total / 1000)}${timing.infer == null ? "" : `, ${Math.round(timing.infer)} ms of it at the model server`}`;
}
