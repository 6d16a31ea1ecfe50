import { Card, Text, Title } from "@mantine/core";

import type { Comparison, Evaluation } from "../../api/models";
import { number } from "../../format";

type Ends = readonly [number, number] | null | undefined;
const ends = (of: Ends) => (of ? `${number(of[0])} to ${number(of[1])}` : "");

/** Scores side by side, each with its difference to the first evaluation's. */
export function Metrics({ shown, compared }: { shown: readonly Evaluation[]; compared: Comparison | undefined }) {
  const names = compared?.metrics.map((each) => each.name) ?? Object.keys(shown[0]?.metrics ?? {});
  return (
    <Card withBorder component="section" aria-labelledby="scores">
      <Title order={2} size="h4" id="scores" mb="xs">Scores</Title>
      <div className="scroll" tabIndex={0} role="region" aria-label="Scores">
        <table className="rows">
          <thead>
            <tr><th scope="col">Score</th>{shown.map((each) => <th scope="col" className="num" key={each.id}>{each.model_name}</th>)}</tr>
          </thead>
          <tbody>
            {names.map((name) => (
              <tr key={name}>
                <th scope="row">{name} <Text span size="xs" c="dimmed">{compared?.metrics.find((each) => each.name === name)?.better === "lower" ? "lower is better" : ""}</Text></th>
                {shown.map((each) => {
                  const value = compared?.metrics.find((row) => row.name === name)?.values.find((row) => row.evaluation === each.id);
                  return (
                    <td className="num" key={each.id}>
                      {number(value ? value.value : (each.metrics as Record<string, number>)[name])}
                      <Text size="xs" c="dimmed">{ends((value?.interval ?? each.intervals[name]) as Ends)}</Text>
                      {value?.difference != null && (
                        <Text size="xs">{value.difference > 0 ? "+" : ""}{number(value.difference)}{value.p == null ? "" : `, p ${number(value.p)}`}</Text>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Text size="xs" c="dimmed" mt={4}>
        Below each score its 95 % interval, then its difference to {shown[0]?.model_name} and the p-value of a paired bootstrap, of one comparison.
      </Text>
    </Card>
  );
}
