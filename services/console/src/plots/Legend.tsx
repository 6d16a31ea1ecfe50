import { colorOf } from "./colors";

export function Legend({ names, color = colorOf }: { names: readonly string[]; color?: (at: number) => string }) {
  return (
    <ul className="legend">
      {names.map((name, at) => <li key={at}><span className="swatch" aria-hidden style={{ background: color(at) }} />{name}</li>)}
    </ul>
  );
}
