import { Card, Title } from "@mantine/core";
import { useMemo } from "react";

import type { Case } from "../../api/models";
import { number } from "../../format";
import { colorOf } from "../../plots/colors";
import { Legend } from "../../plots/Legend";
import { boxOf } from "./curves";

const HEIGHT = 260;
const LEFT = 34;
const EACH = 44;

/** The Dice of every case, a box for each class and evaluation. */
export function Boxes({ names, cases, classes }: { names: readonly string[]; cases: readonly (readonly Case[])[]; classes: readonly string[] }) {
  const boxes = useMemo(
    () => classes.map((of) => cases.map((each) => boxOf(each.flatMap((row) => (row.class === of && typeof row.dice === "number" ? [row.dice] : []))))),
    [cases, classes],
  );
  const wide = names.length * EACH + 24;
  const width = LEFT + classes.length * wide;
  const y = (share: number) => 8 + (1 - share) * HEIGHT;
  const told = boxes.flatMap((row, of) => row.map((box, at) => `${classes[of]} of ${names[at]}: median ${number(box?.median)}, half of the cases ${number(box?.q1)} to ${number(box?.q3)}`));
  return (
    <Card withBorder component="section" aria-labelledby="dice">
      <Title order={2} size="h4" id="dice" mb="xs">Dice of every case</Title>
      <svg className="chart" style={{ maxWidth: width }} viewBox={`0 0 ${width} ${HEIGHT + 34}`} role="img" aria-label={`Dice. ${told.join("; ")}`}>
        {[0, 0.2, 0.4, 0.6, 0.8, 1].map((tick) => (
          <g key={tick}>
            <path className="grid" d={`M${LEFT},${y(tick)}H${width}`} />
            <text x={LEFT - 6} y={y(tick) + 4} textAnchor="end">{tick}</text>
          </g>
        ))}
        {boxes.map((row, of) => (
          <g key={classes[of]}>
            <text x={LEFT + of * wide + wide / 2} y={HEIGHT + 26} textAnchor="middle">{classes[of]}</text>
            {row.map((box, at) => {
              if (!box) return null;
              const x = LEFT + of * wide + 12 + at * EACH + EACH / 2;
              return (
                <g key={at} stroke={colorOf(at)} strokeWidth={1.6} fill="none">
                  <path d={`M${x},${y(box.low)}V${y(box.q1)}M${x},${y(box.q3)}V${y(box.high)}M${x - 7},${y(box.low)}h14M${x - 7},${y(box.high)}h14`} />
                  <rect x={x - 13} y={y(box.q3)} width={26} height={Math.max(1, y(box.q1) - y(box.q3))} fill={colorOf(at)} fillOpacity={0.25} />
                  <path d={`M${x - 13},${y(box.median)}h26`} strokeWidth={2.4} />
                  {box.outside.map((value, number_) => <circle key={number_} cx={x} cy={y(value)} r={2.5} />)}
                </g>
              );
            })}
          </g>
        ))}
      </svg>
      <Legend names={names} />
    </Card>
  );
}
