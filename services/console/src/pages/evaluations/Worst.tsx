import { Card, Text, Title } from "@mantine/core";

import type { Case } from "../../api/models";
import { number, percent } from "../../format";

const SHOWN = 10;

interface Row {
  name: string;
  of: string;
  value: number;
  words: string;
}

/** Where a model does worst: a structure with little overlap, or a class that it was sure not to see. */
function worst(cases: readonly Case[], classes: readonly string[]): Row[] {
  const rows = cases.flatMap((each): Row[] => {
    if (typeof each.dice === "number") return [{ name: each.case ?? "", of: each.class ?? "", value: each.dice, words: `Dice ${number(each.dice)}` }];
    if (!each.probabilities || each.predicted === each.label) return [];
    const given = each.probabilities[classes.indexOf(each.label ?? "")] ?? 0;
    return [{ name: each.source ?? "", of: each.label ?? "", value: given, words: `taken for ${each.predicted}; its own class had ${percent(given)}` }];
  });
  return rows.sort((a, b) => a.value - b.value).slice(0, SHOWN);
}

/** The worst cases of each evaluation. */
export function Worst({ names, cases, classes }: { names: readonly string[]; cases: readonly (readonly Case[])[]; classes: readonly string[] }) {
  return (
    <Card withBorder component="section" aria-labelledby="worst">
      <Title order={2} size="h4" id="worst" mb="xs">Worst cases</Title>
      {cases.map((each, at) => {
        const rows = worst(each, classes);
        return (
          <div key={at}>
            {names.length > 1 && <Text fw={600} size="sm" mt="sm">{names[at]}</Text>}
            {rows.length === 0 && <Text size="sm" c="dimmed">Every case was right.</Text>}
            {rows.length > 0 && (
              <table className="rows" aria-label={`Worst cases of ${names[at]}`}>
                <thead><tr><th scope="col">Case</th><th scope="col">Class</th><th scope="col">Score</th></tr></thead>
                <tbody>{rows.map((row) => <tr key={row.name + row.of}><td className="one">{row.name}</td><td>{row.of}</td><td>{row.words}</td></tr>)}</tbody>
              </table>
            )}
          </div>
        );
      })}
    </Card>
  );
}
