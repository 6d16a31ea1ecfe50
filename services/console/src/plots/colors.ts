/** Told apart by people who see few colours, too (Okabe and Ito); each readable on light and dark. */
export const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f", "#e69f00"];
export const colorOf = (at: number) => COLORS[at % COLORS.length] ?? "#7f7f7f";
