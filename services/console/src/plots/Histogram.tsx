import { number } from "../format";

const BARS = 96;
const WIDTH = 480;
const HEIGHT = 140;

interface Props {
  title: string;
  /** `counts[i]` values lie in `[start + i * width, start + (i + 1) * width)`. */
  start: number;
  width: number;
  counts: readonly number[];
}

/** How often values occur; bins are put together to as many bars as can be seen, the height is a square root. */
export function Histogram({ title, start, width, counts }: Props) {
  const each = Math.max(1, Math.ceil(counts.length / BARS));
  const bars = Array.from({ length: Math.ceil(counts.length / each) }, (_, at) =>
    counts.slice(at * each, (at + 1) * each).reduce((sum, count) => sum + count, 0));
  const most = Math.max(1, ...bars);
  const step = WIDTH / Math.max(1, bars.length);
  const end = start + counts.length * width;
  const peak = bars.indexOf(most);
  const label = `${title}: from ${number(start)} to ${number(end)}, most values near ${number(start + (peak + 0.5) * each * width)}`;
  return (
    <figure className="histogram">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label} preserveAspectRatio="none">
        {bars.map((count, at) => {
          // rare values are seen, too
          const height = Math.sqrt(count / most) * HEIGHT;
          return count > 0 && <rect key={at} x={at * step} y={HEIGHT - height} width={Math.max(0.5, step - 0.6)} height={height}><title>{`${number(start + at * each * width)}: ${number(count)}`}</title></rect>;
        })}
      </svg>
      <figcaption><span>{number(start)}</span><span>{number(end)}</span></figcaption>
    </figure>
  );
}
