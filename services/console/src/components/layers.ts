/** Places for the nodes of a graph without circles: a column for each length of the way to a node (Sugiyama, 1981),
 * in a column an order in which few edges cross (by the mean place of the neighbours).
 */

export interface Edge {
  from: string;
  to: string;
}

export interface Layers {
  /** Ids of the nodes, column by column. */
  columns: string[][];
  /** Longest column. */
  rows: number;
}

const SWEEPS = 4;

export function layersOf(ids: readonly string[], edges: readonly Edge[]): Layers {
  const known = new Set(ids);
  const used = edges.filter((edge) => known.has(edge.from) && known.has(edge.to));
  const before = group(used, "to", "from");
  const after = group(used, "from", "to");
  const depth = new Map<string, number>();
  const at = (id: string, path: Set<string>): number => {
    const found = depth.get(id);
    if (found !== undefined) return found;
    // the platform refuses circles; one must not hang the page all the same
    const longest = Math.max(-1, ...(before.get(id) ?? []).filter((each) => !path.has(each)).map((each) => at(each, new Set(path).add(id))));
    depth.set(id, longest + 1);
    return longest + 1;
  };
  const columns: string[][] = [];
  for (const id of ids) (columns[at(id, new Set())] ??= []).push(id);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forth = sweep % 2 === 0;
    for (const column of forth ? columns : [...columns].reverse()) order(column, columns, forth ? before : after);
  }
  return { columns, rows: Math.max(0, ...columns.map((column) => column.length)) };
}

function group(edges: readonly Edge[], by: keyof Edge, other: keyof Edge): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const edge of edges) found.set(edge[by], [...(found.get(edge[by]) ?? []), edge[other]]);
  return found;
}

function order(column: string[], columns: readonly string[][], neighbours: Map<string, string[]>): void {
  const place = new Map(columns.flatMap((each) => each.map((id, at) => [id, (at + 0.5) / each.length] as const)));
  const wish = (id: string) => {
    const near = neighbours.get(id) ?? [];
    return near.length ? near.reduce((sum, each) => sum + (place.get(each) ?? 0), 0) / near.length : (place.get(id) ?? 0);
  };
  const wishes = new Map(column.map((id) => [id, wish(id)]));
  column.sort((a, b) => (wishes.get(a) ?? 0) - (wishes.get(b) ?? 0));
}
