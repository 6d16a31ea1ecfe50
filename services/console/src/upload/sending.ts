import { api, type Dataset, pageOf, Refused } from "../api/client";
import type { components } from "../api/schema";
import type { Found } from "./files";
import { Hasher } from "./hashing";

type Session = components["schemas"]["UploadOut"];
type Part = components["schemas"]["PartOut"];
type PartUrls = components["schemas"]["PartUrls"];
type Created = components["schemas"]["DatasetCreated"];

const MIB = 2 ** 20;
/** Larger files go in parts, of which those that have arrived are not sent again. */
const IN_PARTS = 8 * MIB;
const PART = 8 * MIB;
const AT_ONCE = 4;
const TRIES = 6;

export interface About {
  name: string;
  project?: string | undefined;
  modality?: string | undefined;
  description?: string | undefined;
}

export interface Sent {
  phase: "reading" | "sending" | "finishing";
  bytes: number;
  /** Of the phase. */
  total: number;
  /** Bytes that were there already. */
  kept: number;
  files: number;
}

/** Brings a folder to the platform. The same folder under the same name goes on where an unfinished upload ended. */
export class Sending {
  private readonly hasher = new Hasher();
  private readonly stop = new AbortController();
  private now: Sent;

  constructor(private readonly files: readonly Found[], private readonly about: About, private readonly told: (now: Sent) => void) {
    this.now = { phase: "reading", bytes: 0, total: files.reduce((sum, each) => sum + each.file.size, 0), kept: 0, files: 0 };
  }

  end(): void {
    this.stop.abort(new Error("The upload was stopped. Press Upload, or choose the same folder again, to go on."));
    this.hasher.end();
  }

  async run(): Promise<Dataset> {
    try {
      const made = await this.announce();
      const missing = new Map(made.uploads.map((each) => [each.path, each.url]));
      const kept = this.files.filter((each) => !missing.has(each.path));
      const there = kept.reduce((sum, each) => sum + each.file.size, 0);
      this.tell({ phase: "sending", bytes: there, kept: there, files: kept.length });
      const todo = this.files.filter((each) => missing.has(each.path));
      await sideBySide(todo, AT_ONCE, async (each) => {
        const url = missing.get(each.path);
        if (url && each.file.size <= IN_PARTS) {
          await this.put(url, {}, each.file, each.path);
          this.tell({ bytes: this.now.bytes + each.file.size });
        } else await this.inParts(made.dataset.id, each);
        this.tell({ files: this.now.files + 1 });
      });
      this.tell({ phase: "finishing" });
      const params = { path: { dataset_id: made.dataset.id } };
      return (await api.POST("/v1/datasets/{dataset_id}/complete", { params, signal: this.stop.signal })).data as Dataset;
    } catch (error) {
      this.stop.signal.throwIfAborted();
      throw error;
    } finally {
      // of files that are sent side by side, one may have failed: the others end with it
      this.end();
    }
  }

  private tell(change: Partial<Sent>): void {
    if (this.stop.signal.aborted) return;
    this.now = { ...this.now, ...change };
    this.told(this.now);
  }

  private async announce(): Promise<Created> {
    const files = [];
    for (const { path, file } of this.files) {
      this.stop.signal.throwIfAborted();
      const sha256 = await this.hasher.hash("sha256", file, (bytes) => this.tell({ bytes: this.now.bytes + bytes }));
      files.push({ path, size: file.size, sha256 });
      this.tell({ files: files.length });
    }
    const body = { ...this.about, files, resume: true };
    try {
      return (await api.POST("/v1/datasets", { body: body as never, signal: this.stop.signal })).data as Created;
    } catch (error) {
      throw error instanceof Refused ? named(error, files) : error;
    }
  }

  private async inParts(datasetId: string, { path, file }: Found): Promise<void> {
    const signal = this.stop.signal;
    const params = { path: { dataset_id: datasetId } };
    const session = (await api.POST("/v1/datasets/{dataset_id}/uploads", { params, body: { path, part_bytes: PART }, signal })).data as Session;
    const arrived = await this.arrived(session);
    const md5s: string[] = [];
    for (let number = 1; number <= session.part_count; number += 1) {
      const piece = file.slice((number - 1) * session.part_bytes, number * session.part_bytes);
      const md5 = await this.hasher.hash("md5", piece);
      md5s.push(md5);
      if (arrived.get(number) === md5) this.tell({ kept: this.now.kept + piece.size });
      else await this.sendPart(session, number, md5, piece, path);
      this.tell({ bytes: this.now.bytes + piece.size });
    }
    const at = { path: { dataset_id: datasetId, upload_id: session.id } };
    await api.POST("/v1/datasets/{dataset_id}/uploads/{upload_id}/complete", { params: at, body: { md5s }, signal });
  }

  /** MD5s of the parts that are there. */
  private async arrived(session: Session): Promise<Map<number, string>> {
    const found = new Map<number, string>();
    let cursor: string | undefined;
    do {
      const params = { path: { dataset_id: session.dataset_id, upload_id: session.id }, query: { cursor } };
      const page = pageOf<Part>((await api.GET("/v1/datasets/{dataset_id}/uploads/{upload_id}/parts", { params, signal: this.stop.signal })).data);
      for (const part of page.items) found.set(part.number, part.md5);
      cursor = page.next ?? undefined;
    } while (cursor);
    return found;
  }

  private async sendPart(session: Session, number: number, md5: string, piece: Blob, path: string): Promise<void> {
    const params = { path: { dataset_id: session.dataset_id, upload_id: session.id } };
    const asked = { params, body: { parts: [{ number, md5 }] }, signal: this.stop.signal };
    const urls = (await api.POST("/v1/datasets/{dataset_id}/uploads/{upload_id}/urls", asked)).data as PartUrls;
    const [url] = urls.parts;
    if (!url) throw new Error(`the platform gave no address for part ${number} of ${path}`);
    const { "Content-Length": _, ...headers } = url.headers;
    await this.put(url.url, headers, piece, path);
  }

  /** PUT until it is taken: what does not answer is asked again, with growing pauses. */
  private async put(url: string, headers: Record<string, string>, content: Blob, path: string): Promise<void> {
    for (let turn = 1; ; turn += 1) {
      let refused: Refused;
      try {
        const answer = await fetch(url, { method: "PUT", headers, body: content, signal: this.stop.signal });
        if (answer.ok) return;
        refused = new Refused(answer.status, "The object store refuses a file", `${path}: ${answer.status} ${answer.statusText}`, null);
        if (answer.status < 500 && answer.status !== 429) throw refused;
      } catch (error) {
        this.stop.signal.throwIfAborted();
        if (error instanceof Refused) throw error;
        await content.slice(0, 1).arrayBuffer().catch(() => {
          throw new Error(`${path} can no longer be read; it was changed or moved. Choose the folder again.`);
        });
        refused = new Refused(0, "The object store does not answer", `${path} was not taken by ${new URL(url).host}. Choose the same folder again to go on.`, null);
      }
      if (turn === TRIES) throw refused;
      await new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** turn, 15_000)));
    }
  }
}

/** The same with the names of files, which the platform knows by their places alone. */
function named(refused: Refused, files: readonly { path: string }[]): Refused {
  const words = (text: string) => text.replace(/\/files\/(\d+)\/path/g, (whole, at: string) => (files[Number(at)] ? `the file ${JSON.stringify(files[Number(at)]?.path)}` : whole));
  const fields = refused.fields.map((each) => ({ pointer: words(each.pointer), detail: each.detail }));
  return new Refused(refused.status, refused.title, words(refused.message), refused.requestId, fields);
}

async function sideBySide<T>(items: readonly T[], most: number, run: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const one = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, one));
}
