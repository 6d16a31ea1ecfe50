/** Grey PNG files of 16 bits a pixel, of which browsers keep 8: radiographs, and masks with many labels.
 * The format: https://www.w3.org/TR/png-3/
 */

import { Unreadable, type Volume } from "./nifti";
import type { Labels } from "./picture";

export interface Deep {
  width: number;
  height: number;
  /** From the top left, row by row. */
  data: Uint16Array;
}

const SIGNATURE = 8;
const GREY = 0;
/** Bytes of a pixel. */
const STEP = 2;
/** What tells that a file is one of these: signature and header. */
export const HEAD = 33;

/** True for the beginning of a grey PNG of 16 bits that is not interlaced. */
export function isDeep(head: ArrayBuffer): boolean {
  const bytes = new Uint8Array(head);
  return bytes.length >= HEAD && bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[24] === 16 && bytes[25] === GREY && bytes[28] === 0;
}

/** The pixels of such a file. Rejects when it is damaged. */
export async function readDeep(file: ArrayBuffer): Promise<Deep> {
  const view = new DataView(file);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const packed: BlobPart[] = [];
  for (let at = SIGNATURE; at + 8 <= file.byteLength; at += view.getUint32(at) + 12) {
    // IDAT
    if (view.getUint32(at + 4) === 0x49444154) packed.push(new Uint8Array(file, at + 8, Math.min(view.getUint32(at), file.byteLength - at - 8)));
  }
  const lines = await new Response(new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer()
    .then((each) => new Uint8Array(each), () => { throw new Unreadable("the image is damaged: it cannot be unpacked"); });
  if (lines.length < height * (1 + STEP * width)) throw new Unreadable("the image ends before its last pixel");
  const data = new Uint16Array(width * height);
  let above: Uint8Array = new Uint8Array(STEP * width);
  for (let row = 0; row < height; row += 1) {
    const start = row * (1 + STEP * width);
    const line = lines.subarray(start + 1, start + 1 + STEP * width);
    unfiltered(lines[start] ?? 0, line, above);
    for (let x = 0; x < width; x += 1) data[row * width + x] = ((line[STEP * x] ?? 0) << 8) | (line[STEP * x + 1] ?? 0);
    above = line;
  }
  return { width, height, data };
}

/** Undo a row's filter in place; `above` is the row over it, undone already. */
function unfiltered(filter: number, line: Uint8Array, above: Uint8Array): void {
  for (let at = 0; at < line.length; at += 1) {
    const left = at < STEP ? 0 : (line[at - STEP] ?? 0);
    const up = above[at] ?? 0;
    const corner = at < STEP ? 0 : (above[at - STEP] ?? 0);
    const guess = [0, left, up, (left + up) >> 1, filter === 4 ? paeth(left, up, corner) : 0][filter] ?? 0;
    line[at] = (line[at] ?? 0) + guess;
  }
}

function paeth(left: number, up: number, corner: number): number {
  const sum = left + up - corner;
  const [a, b, c] = [Math.abs(sum - left), Math.abs(sum - up), Math.abs(sum - corner)] as [number, number, number];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** The labels of a mask of 16 bits: its values, or their ranks where one is above 255. */
export function labelsOfDeep({ width, height, data }: Deep): Labels {
  const values = [...new Set(data)].sort((a, b) => a - b).filter(Boolean);
  if ((values.at(-1) ?? 0) < 256) return { width, height, data: Uint8Array.from(data) };
  const ranks = new Map(values.map((value, at) => [value, at + 1]));
  return { width, height, data: Uint8Array.from(data, (value) => ranks.get(value) ?? 0) };
}

/** As a volume of one slice, turned as `flat` of picture.ts turns images. */
export function flatDeep({ width, height, data }: Deep): Volume {
  return { size: [width, height, 1], spacing: [1, 1, 1], data: Float32Array.from(data).reverse(), isFlat: true };
}
