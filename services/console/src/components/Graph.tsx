import { useMemo } from "react";

import { type Edge, layersOf } from "./layers";

export interface GraphNode {
  id: string;
  content: React.ReactNode;
  state?: string;
}

interface Props {
  nodes: readonly GraphNode[];
  edges: readonly Edge[];
  label: string;
  width?: number;
  height?: number;
}

const GAP_X = 46;
const GAP_Y = 14;

/** A graph without circles, drawn from left to right. Its nodes are HTML, and can be reached by the keyboard. */
export function Graph({ nodes, edges, label, width = 196, height = 66 }: Props) {
  const { columns, rows } = useMemo(() => layersOf(nodes.map((node) => node.id), edges), [nodes, edges]);
  const total = rows * (height + GAP_Y);
  const places = useMemo(
    () =>
      new Map(
        columns.flatMap((column, x) => {
          const top = (total - column.length * (height + GAP_Y)) / 2;
          return column.map((id, y) => [id, { x: x * (width + GAP_X), y: top + y * (height + GAP_Y) + GAP_Y / 2 }] as const);
        }),
      ),
    [columns, total, width, height],
  );
  return (
    <div className="scroll graph" tabIndex={0} role="region" aria-label={label}>
      <div className="canvas" style={{ width: Math.max(0, columns.length * (width + GAP_X) - GAP_X), height: total + GAP_Y }}>
        <svg width="100%" height="100%" aria-hidden="true">
          {edges.map(({ from, to }) => {
            const [a, b] = [places.get(from), places.get(to)];
            if (!a || !b) return null;
            const [x1, y1, x2, y2] = [a.x + width, a.y + height / 2, b.x, b.y + height / 2];
            const bend = Math.max(24, (x2 - x1) / 2);
            if (x2 - x1 > GAP_X + 1) {
              // below what stands between
              const low = Math.max(y1, y2) + height * 0.8;
              return <path key={`${from} ${to}`} d={`M${x1},${y1} C${x1 + GAP_X},${low} ${x2 - GAP_X},${low} ${x2},${y2}`} />;
            }
            return <path key={`${from} ${to}`} d={`M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`} />;
          })}
        </svg>
        {nodes.map((node) => {
          const place = places.get(node.id);
          return place && (
            <div key={node.id} className="node" data-node={node.id} data-of={node.state} style={{ left: place.x, top: place.y, width, height }}>
              {node.content}
            </div>
          );
        })}
      </div>
    </div>
  );
}
