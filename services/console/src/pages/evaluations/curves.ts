import type { Case } from "../../api/models";

export interface Curve {
  /** False-positive and true-positive rates, from (0, 0) to (1, 1). */
  points: [number, number][];
  auc: number;
}

/** The ROC curve of a class against all others; null where it has no cases, or nothing else has. */
export function rocOf(cases: readonly Case[], classes: readonly string[], of: string): Curve | null {
  const place = classes.indexOf(of);
  const rows = cases
    .flatMap((each) => (each.probabilities ? [{ score: each.probabilities[place] ?? 0, positive: each.label === of }] : []))
    .sort((a, b) => b.score - a.score);
  const positives = rows.filter((each) => each.positive).length;
  const negatives = rows.length - positives;
  if (!positives || !negatives) return null;
  const points: [number, number][] = [[0, 0]];
  let [hits, misses, auc] = [0, 0, 0];
  rows.forEach((row, at) => {
    if (row.positive) hits += 1;
    else misses += 1;
    // cases of one score are one step
    if (rows[at + 1]?.score === row.score) return;
    const [x, y] = points.at(-1) as [number, number];
    const next: [number, number] = [misses / negatives, hits / positives];
    auc += ((next[0] - x) * (next[1] + y)) / 2;
    points.push(next);
  });
  return { points, auc };
}

export interface Box {
  low: number;
  q1: number;
  median: number;
  q3: number;
  high: number;
  outside: number[];
  count: number;
}

/** Quartiles, and whiskers to the last value within 1.5 quartile distances (Tukey). */
export function boxOf(values: readonly number[]): Box | null {
  const sorted = [...values].sort((a, b) => a - b);
  if (!sorted.length) return null;
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const below = sorted[Math.floor(place)] ?? 0;
    return below + (place - Math.floor(place)) * ((sorted[Math.ceil(place)] ?? below) - below);
  };
  const [q1, median, q3] = [at(0.25), at(0.5), at(0.75)] as const;
  const reach = 1.5 * (q3 - q1);
  const within = sorted.filter((each) => each >= q1 - reach && each <= q3 + reach);
  return {
    q1, median, q3, low: within[0] ?? q1, high: within.at(-1) ?? q3, count: sorted.length,
    outside: sorted.filter((each) => each < q1 - reach || each > q3 + reach),
  };
}
