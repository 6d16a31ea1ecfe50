import "uplot/dist/uPlot.min.css";

import { useComputedColorScheme } from "@mantine/core";
import { useElementSize, useMergedRef } from "@mantine/hooks";
import { useEffect, useMemo, useRef } from "react";
import uPlot from "uplot";

import { number } from "../format";
import { colorOf } from "./colors";

export interface Line {
  label: string;
  x: number[];
  y: number[];
}

const HEIGHT = 220;

/** What a picture of lines says, for people who do not see it. */
function words(title: string, lines: readonly Line[]): string {
  const each = lines.filter((line) => line.y.length).map((line) => {
    const low = line.y.reduce((a, b) => Math.min(a, b), Infinity);
    return `${line.label}: ${number(line.y.at(-1))} at step ${number(line.x.at(-1))}, lowest ${number(low)}`;
  });
  return `${title}. ${each.join("; ")}`;
}

/** Lines over steps. They are drawn on a canvas; its label says the last values. */
export default function Plot({ title, lines, log = false }: { title: string; lines: readonly Line[]; log?: boolean }) {
  const dark = useComputedColorScheme("light") === "dark";
  const { ref: sized, width } = useElementSize<HTMLDivElement>();
  const frame = useRef<HTMLDivElement>(null);
  const ref = useMergedRef(sized, frame);
  const drawn = useRef<uPlot | null>(null);
  const data = useMemo(
    () => uPlot.join(lines.map((line) => [line.x, line.y] as uPlot.AlignedData)) as uPlot.AlignedData,
    [lines],
  );
  const latest = useRef(data);
  latest.current = data;
  const labels = lines.map((line) => line.label).join("\n");
  useEffect(() => {
    const element = frame.current;
    if (!element || !width) return undefined;
    const ink = dark ? "#c9c9c9" : "#495057";
    const axis: uPlot.Axis = { stroke: ink, grid: { stroke: dark ? "#383838" : "#e9ecef", width: 1 }, ticks: { show: false } };
    const plot = new uPlot(
      {
        width, height: HEIGHT,
        scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
        axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : number(tick))) }],
        series: [
          { label: "step", value: (_, value) => number(value) },
          ...labels.split("\n").map((label, at) => ({
            label, stroke: colorOf(at), width: 1.6, spanGaps: true,
            value: (_: uPlot, value: number | null) => number(value),
          })),
        ],
        cursor: { sync: { key: "steps" }, drag: { x: true, y: false } },
      },
      latest.current,
      element,
    );
    drawn.current = plot;
    return () => {
      drawn.current = null;
      plot.destroy();
    };
  }, [width, dark, log, labels]);
  useEffect(() => drawn.current?.setData(data), [data]);
  return <div ref={ref} className="plot" role="img" aria-label={words(title, lines)} style={{ minHeight: HEIGHT + 30 }} />;
}
