import { Text } from "@mantine/core";

export interface Cell {
  text: string;
  /** How strongly it is coloured, 0 to 1; null: not at all. */
  share: number | null;
  title?: string;
}

interface Props {
  label: string;
  corner: string;
  columns: readonly string[];
  rows: readonly { name: React.ReactNode; id: string; cells: readonly (Cell | null)[] }[];
  /** orange where much is bad, blue where it is not */
  tone?: "orange" | "blue";
}

/** A table whose cells are coloured by what they hold: a heat map that can be read aloud. */
export function Matrix({ label, corner, columns, rows, tone = "blue" }: Props) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={label}>
      <table className={`matrix ${tone}`}>
        <thead>
          <tr><th scope="col"><Text span size="xs" c="dimmed">{corner}</Text></th>{columns.map((each) => <th scope="col" key={each}>{each}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id}>
              <th scope="row">{row.name}</th>
              {row.cells.map((cell, at) => (
                <td key={columns[at]} title={cell?.title} style={cell?.share == null ? undefined : { "--share": `${Math.round(60 * Math.min(1, cell.share))}%` } as React.CSSProperties}>
                  {cell ? cell.text : <Text span c="dimmed">–</Text>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
