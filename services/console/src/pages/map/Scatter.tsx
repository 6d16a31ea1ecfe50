import { useComputedColorScheme } from "@mantine/core";
import { useElementSize, useMergedRef } from "@mantine/hooks";
import { useEffect, useMemo, useRef } from "react";

import { type Column, type Grouped, NAMED, type Place, type Points, within, wordsOf } from "./points";

const HEIGHT = 520;
const EDGE = 16;

interface Props {
  points: Points;
  by: Column;
  grouped: Grouped;
  shown: ReadonlySet<number> | null;
  /** Called with the studies that were drawn around. */
  lassoed: (chosen: number[]) => void;
}

/** Studies as points; whoever draws around some chooses them. What is chosen is listed beside, for the keyboard, too. */
export function Scatter({ points, by, grouped, shown, lassoed }: Props) {
  const dark = useComputedColorScheme("light") === "dark";
  const { ref: sized, width } = useElementSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const frame = useMergedRef(sized);
  const path = useRef<Place[]>([]);
  const places = useMemo(() => placed(points, width), [points, width]);
  const ranks = useMemo(() => new Map(grouped.groups.map(([value], at) => [value, at])), [grouped]);
  const draw = useRef<() => void>(() => undefined);
  draw.current = () => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || !width) return;
    const scale = window.devicePixelRatio || 1;
    element.width = width * scale;
    element.height = HEIGHT * scale;
    context.scale(scale, scale);
    const radius = Math.max(1.5, Math.min(4.5, 90 / Math.sqrt(places.length)));
    places.forEach(([x, y], at) => {
      const rank = ranks.get(grouped.of[at] ?? "") ?? NAMED;
      context.globalAlpha = shown && !shown.has(at) ? 0.12 : 0.8;
      context.fillStyle = rank < NAMED ? grouped.color(rank) : dark ? "#8a8a8a" : "#9a9a9a";
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    });
    context.globalAlpha = 1;
    if (path.current.length > 1) {
      context.strokeStyle = dark ? "#fff" : "#000";
      context.setLineDash([5, 4]);
      context.stroke(new Path2D(`M${path.current.map((each) => each.join()).join("L")}Z`));
    }
  };
  useEffect(() => draw.current(), [places, ranks, shown, dark, width]);
  const at = (event: React.PointerEvent): Place => [event.nativeEvent.offsetX, event.nativeEvent.offsetY];
  const ended = () => {
    const polygon = path.current;
    path.current = [];
    if (polygon.length > 2) lassoed(places.flatMap((place, study) => (within(place, polygon) ? [study] : [])));
    else draw.current();
  };
  return (
    <div ref={frame}>
      <canvas ref={canvas} className="scatter" style={{ height: HEIGHT }} role="img"
        aria-label={`Map of ${places.length} studies, coloured by ${wordsOf(by)}. Studies that are near each other look alike to the encoder.`}
        onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); path.current = [at(event)]; }}
        onPointerMove={(event) => { if (path.current.length) { path.current.push(at(event)); draw.current(); } }}
        onPointerUp={ended} onPointerCancel={ended} />
    </div>
  );
}

/** Points on the canvas, of one scale on both axes. */
function placed(points: Points, width: number): Place[] {
  const ends = (values: readonly number[]) => values.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)] as const, [Infinity, -Infinity] as const);
  const [[left, right], [low, high]] = [ends(points.x), ends(points.y)];
  const scale = Math.min((width - 2 * EDGE) / (right - left || 1), (HEIGHT - 2 * EDGE) / (high - low || 1));
  const middle = [(left + right) / 2, (low + high) / 2] as const;
  return points.x.map((x, at) => [width / 2 + (x - middle[0]) * scale, HEIGHT / 2 - ((points.y[at] ?? 0) - middle[1]) * scale] as const);
}
