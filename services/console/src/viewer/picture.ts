import type { Volume } from "./nifti";

/** The pixels of an image that the browser can read. Rejects for others. */
export async function pictureOf(file: Blob): Promise<ImageData> {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** An image as a volume of one slice: the viewer turns axial slices as radiologists look, so it is turned before. */
export function flat(image: ImageData, as: "grey" | "labels"): Volume {
  const { width, height, data } = image;
  const found = as === "labels" ? new Uint8Array(width * height) : new Float32Array(width * height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = 4 * (row * width + column);
      const value = as === "labels" ? (data[at] ?? 0) : 0.299 * (data[at] ?? 0) + 0.587 * (data[at + 1] ?? 0) + 0.114 * (data[at + 2] ?? 0);
      found[(height - 1 - row) * width + (width - 1 - column)] = value;
    }
  }
  return { size: [width, height, 1], spacing: [1, 1, 1], data: found, isFlat: true };
}

/** True for the beginning of a JPEG. */
export function isJpeg(head: ArrayBuffer): boolean {
  const [first, second] = new Uint8Array(head);
  return first === 0xff && second === 0xd8;
}

export interface Labels {
  width: number;
  height: number;
  data: Uint8Array;
}

/** More values than that may be no labels but the soft edges of a mask that is black and white; most of it is bright then. */
const MOST_LABELS = 12;
const BRIGHT = 200;
const MOST = 0.7;

/** The labels of a mask that was saved as an image: its values; one label where it is black and white, or `isLossy`, compressed with loss. */
export function labelsOf({ width, height, data }: ImageData, isLossy: boolean): Labels {
  const found = new Uint8Array(width * height);
  const values = new Set<number>();
  let [marked, bright, top] = [0, 0, 0];
  for (let at = 0; at < found.length; at += 1) {
    const value = Math.max(data[4 * at] ?? 0, data[4 * at + 1] ?? 0, data[4 * at + 2] ?? 0);
    found[at] = value;
    if (!value) continue;
    values.add(value);
    marked += 1;
    if (value > BRIGHT) bright += 1;
    top = Math.max(top, value);
  }
  if (isLossy || (values.size > MOST_LABELS && bright > MOST * marked)) for (let at = 0; at < found.length; at += 1) found[at] = (found[at] ?? 0) > top / 2 ? 1 : 0;
  else if (values.size === 1 && values.has(255)) for (let at = 0; at < found.length; at += 1) found[at] = found[at] ? 1 : 0;
  return { width, height, data: found };
}
