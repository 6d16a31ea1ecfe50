import { Card, Group, Select, Title } from "@mantine/core";
import { useMemo, useState } from "react";

import type { Case } from "../../api/models";
import { number } from "../../format";
import { colorOf } from "../../plots/colors";
import { Legend } from "../../plots/Legend";
import { rocOf } from "./curves";

const SIDE = 300;
const LEFT = 38;
const BOTTOM = 30;

/** The ROC curves of one class in all evaluations. */
export function Roc({ names, cases, classes }: { names: readonly string[]; cases: readonly (readonly Case[])[]; classes: readonly string[] }) {
  const [chosen, setChosen] = useState(classes[0] ?? "");
  const curves = useMemo(() => cases.map((each) => rocOf(each, classes, chosen)), [cases, classes, chosen]);
  const told = names.map((name, at) => `${name}: AUC ${number(curves[at]?.auc)}`);
  const x = (share: number) => LEFT + share * SIDE;
  const y = (share: number) => 8 + (1 - share) * SIDE;
  return (
    <Card withBorder component="section" aria-labelledby="roc">
      <Group justify="space-between" mb="xs">
        <Title order={2} size="h4" id="roc">ROC</Title>
        <Select size="xs" w={180} aria-label="Class against all others" data={[...classes]} value={chosen} allowDeselect={false} onChange={(to) => setChosen(to ?? "")} />
      </Group>
      <svg className="chart" viewBox={`0 0 ${LEFT + SIDE + 12} ${SIDE + BOTTOM + 14}`} role="img" aria-label={`ROC of ${chosen} against all others. ${told.join("; ")}`}>
        {[0, 0.25, 0.5, 0.75, 1].map((tick) => (
          <g key={tick}>
            <path className="grid" d={`M${x(tick)},${y(0)}V${y(1)}M${x(0)},${y(tick)}H${x(1)}`} />
            <text x={x(tick)} y={y(0) + 14} textAnchor="middle">{tick}</text>
            <text x={LEFT - 5} y={y(tick) + 4} textAnchor="end">{tick}</text>
          </g>
        ))}
        <path className="axis" strokeDasharray="4 4" d={`M${x(0)},${y(0)}L${x(1)},${y(1)}`} />
        <text x={x(0.5)} y={y(0) + 28} textAnchor="middle">false positives</text>
        <text x={10} y={y(0.5)} textAnchor="middle" transform={`rotate(-90 10 ${y(0.5)})`}>true positives</text>
        {curves.map((curve, at) => curve && (
          <path key={at} fill="none" stroke={colorOf(at)} strokeWidth={2} d={`M${curve.points.map(([a, b]) => `${x(a)},${y(b)}`).join("L")}`} />
        ))}
      </svg>
      <Legend names={told} />
    </Card>
  );
}
