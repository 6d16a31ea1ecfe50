import type { Asked } from "./hash.worker";

type Answer = { id: number; bytes?: number; hash?: string; error?: string };
interface Waiting {
  told: (bytes: number) => void;
  resolve: (hash: string) => void;
  reject: (error: Error) => void;
}

/** Hashes beside the page, which stays quick meanwhile. */
export class Hasher {
  private readonly worker = new Worker(new URL("./hash.worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const asked = this.waiting.get(data.id);
      if (!asked) return;
      if (data.bytes !== undefined) asked.told(data.bytes);
      else {
        this.waiting.delete(data.id);
        if (data.hash !== undefined) asked.resolve(data.hash);
        else asked.reject(new Error(data.error));
      }
    };
  }

  hash(kind: Asked["kind"], blob: Blob, told: (bytes: number) => void = () => undefined): Promise<string> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { told, resolve, reject });
      this.worker.postMessage({ id, kind, blob } satisfies Asked);
    });
  }

  /** What is still asked for is refused: nobody would answer. */
  end(): void {
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(new Error("the hashing was stopped"));
    this.waiting.clear();
  }
}
