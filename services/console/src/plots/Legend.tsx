import { colorOf } from "./colors";

export function Legend({ names }: { names: readonly string[] }) {
  return (
    <ul className="legend">
      {names.map((name, at) => <li key={at}><span className="swatch" aria-hidden style={{ background: colorOf(at) }} />{name}</li>)}
    </ul>
  );
}
