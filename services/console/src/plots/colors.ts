/** Told apart by people who see few colours, too (Okabe and Ito); each readable on light and dark. */
export const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f", "#e69f00"];
/** From early to late, for what has an order (viridis, its ends left out). */
const ORDERED = ["#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#e2c012"];
/** The colour of a place in an order of so many. */
export const orderedColorOf = (at: number, of: number) => ORDERED[of < 2 ? 0 : Math.round((at * (ORDERED.length - 1)) / (of - 1))] ?? "#7f7f7f";

export const colorOf = (at: number) => COLORS[at % COLORS.length] ?? "#7f7f7f";
