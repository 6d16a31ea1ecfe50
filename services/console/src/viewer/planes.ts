import type { Volume } from "./nifti";

export const PLANES = ["axial", "coronal", "sagittal"] as const;
export type Plane = (typeof PLANES)[number];
/** The axis that a plane stands on. */
export const AXIS: Record<Plane, 0 | 1 | 2> = { axial: 2, coronal: 1, sagittal: 0 };
/** What lies at the left and at the top of the picture, as radiologists look: from the feet, and into the face. */
export const SIDES: Record<Plane, [left: string, right: string, top: string, bottom: string]> = {
  axial: ["R", "L", "A", "P"], coronal: ["R", "L", "S", "I"], sagittal: ["A", "P", "S", "I"],
};

export type Colour = readonly [red: number, green: number, blue: number];
/** Colours of labels 1, 2, ... (Okabe and Ito), as in the pictures of evaluations; those after them are turned on by the golden angle. */
const COLOURS: Colour[] = [
  [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167],
];
const GOLDEN_ANGLE = 137.508;

export const colourOf = (label: number): Colour => (COLOURS[label - 1] ??= turned(label));

function turned(label: number): Colour {
  const [hue, saturation, lightness] = [(label * GOLDEN_ANGLE) % 360, 0.75, [0.4, 0.55, 0.7][label % 3] as number];
  const amount = saturation * Math.min(lightness, 1 - lightness);
  const channel = (from: number) => {
    const turn = (from + hue / 30) % 12;
    return Math.round(255 * (lightness - amount * Math.max(-1, Math.min(turn - 3, 9 - turn, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

export interface Slice {
  width: number;
  height: number;
  /** Size of the picture in mm. */
  mm: [number, number];
  /** Where a pixel is in the volume. */
  at: (column: number, row: number) => number;
}

export function sliceOf(volume: Volume, plane: Plane, number: number): Slice {
  const [nx, ny, nz] = volume.size;
  const [sx, sy, sz] = volume.spacing;
  if (plane === "axial") {
    return { width: nx, height: ny, mm: [nx * sx, ny * sy], at: (c, r) => nx - 1 - c + nx * (ny - 1 - r + ny * number) };
  }
  if (plane === "coronal") {
    return { width: nx, height: nz, mm: [nx * sx, nz * sz], at: (c, r) => nx - 1 - c + nx * (number + ny * (nz - 1 - r)) };
  }
  return { width: ny, height: nz, mm: [ny * sy, nz * sz], at: (c, r) => number + nx * (ny - 1 - c + ny * (nz - 1 - r)) };
}

/** The axes that a picture of a plane runs along, from left to right and from top to bottom; it runs against both. */
export const ALONG: Record<Plane, readonly [across: 0 | 1 | 2, down: 0 | 1 | 2]> = { axial: [0, 1], coronal: [0, 2], sagittal: [1, 2] };
/** The voxel at a share of the picture's width or height, and the share at which a voxel's middle lies. */
export const placeOf = (share: number, count: number) => Math.max(0, Math.min(count - 1, count - 1 - Math.floor(share * count)));
export const shareOf = (place: number, count: number) => (count - place - 0.5) / count;

/** Brightness between which most voxels lie: the 1st and the 99th percentile of a sample of them. */
export function usualWindow(data: Volume["data"]): [number, number] {
  const step = Math.max(1, Math.floor(data.length / 20_000));
  const some: number[] = [];
  for (let at = 0; at < data.length; at += step) {
    const value = data[at] ?? 0;
    if (Number.isFinite(value)) some.push(value);
  }
  some.sort((a, b) => a - b);
  const low = some[Math.floor(0.01 * some.length)] ?? 0;
  const high = some[Math.floor(0.99 * some.length)] ?? 1;
  return high > low ? [low, high] : [low, low + 1];
}

/** The slices of each plane in which most is labelled; the middle ones where nothing is. */
export function mostOf(mask: Volume | null, size: Volume["size"]): [number, number, number] {
  const middle = size.map((each) => Math.floor(each / 2)) as [number, number, number];
  if (!mask) return middle;
  const counts = size.map((each) => new Uint32Array(each));
  let at = 0;
  for (let z = 0; z < size[2]; z += 1)
    for (let y = 0; y < size[1]; y += 1)
      for (let x = 0; x < size[0]; x += 1) {
        if (mask.data[at++]) for (const [axis, place] of [x, y, z].entries()) (counts[axis] as Uint32Array)[place]! += 1;
      }
  return counts.map((each, axis) => {
    const best = each.reduce((found, count, place) => (count > (each[found] ?? 0) ? place : found), 0);
    return each[best] ? best : middle[axis];
  }) as [number, number, number];
}

/** A slice as pixels, with the mask laid over it. `hidden` labels are left out. */
export function painted(
  volume: Volume, mask: Volume | null, slice: Slice, window: readonly [number, number], opacity: number, hidden: ReadonlySet<number>,
): ImageData {
  const image = new ImageData(slice.width, slice.height);
  const scale = 255 / (window[1] - window[0]);
  for (let row = 0, to = 0; row < slice.height; row += 1) {
    for (let column = 0; column < slice.width; column += 1, to += 4) {
      const at = slice.at(column, row);
      const grey = Math.max(0, Math.min(255, ((volume.data[at] ?? 0) - window[0]) * scale));
      const label = mask?.data[at] ?? 0;
      const over = label && !hidden.has(label) ? opacity : 0;
      const colour = colourOf(over ? label : 1);
      for (let channel = 0; channel < 3; channel += 1) image.data[to + channel] = grey * (1 - over) + (colour[channel] as number) * over;
      image.data[to + 3] = 255;
    }
  }
  return image;
}
