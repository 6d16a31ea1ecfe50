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
