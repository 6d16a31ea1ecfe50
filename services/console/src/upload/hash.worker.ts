import { md5 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

export interface Asked {
  id: number;
  kind: "md5" | "sha256";
  blob: Blob;
}

/** Hashes what it is given, one after the other; not by the browser's own, which knows no MD5 and wants https. */
self.onmessage = async ({ data }: MessageEvent<Asked>) => {
  try {
    const hash = (data.kind === "md5" ? md5 : sha256).create();
    const reader = data.blob.stream().getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      hash.update(value);
      self.postMessage({ id: data.id, bytes: value.length });
    }
    self.postMessage({ id: data.id, hash: bytesToHex(hash.digest()) });
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error) });
  }
};
