import { Alert, Button, Group, Select, Text } from "@mantine/core";
import { IconChevronLeft, IconChevronRight } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef } from "react";

import { addressQuery, type Sample } from "../../api/samples";
import { number } from "../../format";
import { Words } from "../Jobs";
import type { DatasetSearch } from "../../router";
import { OneSample } from "./OneSample";

const ROW_PX = 52;
/** Images above it have no small picture: there is none to fetch but the whole. */
const SMALL = 2 * 2 ** 20;
const PAGE_ROWS = 8;
/** So many names are seen at once. */
const FEW = 8;
const NO_CLASS = "(no class)";
/** Where arrow keys mean something else. */
const OWN_KEYS = "input, textarea, select, [role=slider], [role=tab], [role=radio], [role=option], [role=region], [role=dialog], [contenteditable]";

interface Props {
  dataset: string;
  samples: readonly Sample[];
  /** The drawn twin of a file that a browser cannot open. */
  instead?: ReadonlyMap<string, Sample>;
  /** Why files cannot be used, as an inspection has found. */
  verdicts?: ReadonlyMap<string, string>;
}

/** Samples one by one: a list to choose from, and the chosen one beside it; choice and filters are in the address. */
export function Browser({ dataset, samples, instead, verdicts }: Props) {
  const { split, label, q, sample: wanted } = useSearch({ from: "/datasets/$id" });
  const navigate = useNavigate({ from: "/datasets/$id" });
  const found = useMemo(() => {
    const part = q?.toLowerCase() ?? "";
    return samples.filter((each) => (!split || each.split === split) && (!label || (each.label ?? NO_CLASS) === label) && each.key.toLowerCase().includes(part));
  }, [samples, split, label, q]);
  const narrow = (to: Partial<DatasetSearch>) => void navigate({ search: (old) => ({ ...old, ...to, sample: undefined }), replace: true, resetScroll: false });
  const at = Math.max(0, found.findIndex((each) => each.key === wanted));
  const chosen = found[at];
  const shown = chosen && !chosen.image && chosen.text === null ? (instead?.get(chosen.key) ?? chosen) : chosen;
  const isMissing = Boolean(wanted) && !samples.some((each) => each.key === wanted);
  const go = useCallback((to: number) => {
    const next = found[Math.max(0, Math.min(found.length - 1, to))];
    if (next) void navigate({ search: (old) => ({ ...old, sample: next.key }), replace: true, resetScroll: false });
  }, [found, navigate]);
  useArrows(useCallback((by: number) => go(at + by), [go, at]));
  return (
    <div>
      <Group mb="sm" gap="sm" align="flex-end">
        <Filter name="Split" value={split} values={samples.map((each) => each.split)} set={(to) => narrow({ split: to })} />
        <Filter name="Class" value={label} values={samples.map((each) => each.label ?? NO_CLASS)} set={(to) => narrow({ label: to })} />
        {(samples.length > FEW || q) && <Words label="Name" hint="contains" value={q} set={(to) => narrow({ q: to })} />}
        <Button.Group>
          <Button variant="default" leftSection={<IconChevronLeft size={16} aria-hidden />} disabled={at === 0} onClick={() => go(at - 1)}>Previous</Button>
          <Button variant="default" rightSection={<IconChevronRight size={16} aria-hidden />} disabled={at >= found.length - 1} onClick={() => go(at + 1)}>Next</Button>
        </Button.Group>
        <Text size="sm" role="status" aria-label="Place among the samples">{found.length ? `${number(at + 1)} of ${number(found.length)}` : "none is like that"}</Text>
      </Group>
      {isMissing && chosen && <Text size="sm" mb="xs" role="alert">There is no sample {wanted}; the first one is shown.</Text>}
      {chosen && shown && (
        <div className="browser">
          <List dataset={dataset} samples={found} at={at} go={go} verdicts={verdicts} />
          <section aria-label="The chosen sample">
            <Text fw={600} className="whole-name">{chosen.key}</Text>
            <Text size="sm" c="dimmed" mb="sm">{facts(shown)}{shown !== chosen && " · as the inspection has kept it"}</Text>
            {verdicts?.has(chosen.key) && <Alert color="orange" variant="light" mb="sm" title="It cannot be used for training">{verdicts.get(chosen.key)}</Alert>}
            <OneSample key={chosen.key} dataset={dataset} sample={shown} />
          </section>
        </div>
      )}
    </div>
  );
}

function facts({ source, key, split, label, shape, spacing, kind }: Sample): string {
  return [
    source && source !== key ? `of ${source}` : "", split, label ?? "", kind === "text" ? "report" : "",
    shape.length ? `${shape.join(" × ")} ${kind === "image" ? "pixels" : "voxels"}` : "",
    spacing.length ? `${spacing.map((each) => number(each)).join(" × ")} mm (${["z", "y", "x"].slice(-spacing.length).join(", ")})`
    : shape.length === 3 ? "spacing not known, shown as if 1 mm" : "",
  ].filter(Boolean).join(" · ");
}

/** The arrow keys lead on from wherever they mean nothing else. */
function useArrows(move: (by: number) => void) {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
      if (!by || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.target instanceof Element && event.target.closest(OWN_KEYS)) return;
      event.preventDefault();
      move(by);
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [move]);
}

function Filter({ name, value, values, set }: { name: string; value: string | undefined; values: readonly string[]; set: (to: string | undefined) => void }) {
  const known = useMemo(() => [...new Set(values)].sort(), [values]);
  if (known.length < 2 && !value) return null;
  return <Select label={name} w={170} clearable searchable placeholder="all" data={known} value={value ?? null} onChange={(to) => set(to ?? undefined)} />;
}

/** The samples as rows; only those in view are drawn. Arrow keys, Home, End and the page keys choose. */
function List({ dataset, samples, at, go, verdicts }: Pick<Props, "dataset" | "samples" | "verdicts"> & { at: number; go: (to: number) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({ count: samples.length, getScrollElement: () => scroller.current, estimateSize: () => ROW_PX, overscan: 6 });
  useEffect(() => rows.scrollToIndex(at), [rows, at]);
  const keys: Record<string, number> = {
    ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - PAGE_ROWS, PageDown: at + PAGE_ROWS, Home: 0, End: samples.length - 1,
  };
  return (
    <div ref={scroller} className="scroll list" role="listbox" aria-label="Samples" tabIndex={0} aria-activedescendant={`sample-${at}`}
      onKeyDown={(event) => {
        const to = keys[event.key];
        if (to === undefined) return;
        event.preventDefault();
        go(to);
      }}>
      <div role="presentation" style={{ height: rows.getTotalSize(), position: "relative" }}>
        {rows.getVirtualItems().map(({ index, start }) => {
          const sample = samples[index];
          return sample && (
            <div key={index} id={`sample-${index}`} role="option" aria-selected={index === at} aria-posinset={index + 1} aria-setsize={samples.length}
              className="entry" style={{ transform: `translateY(${start}px)`, height: ROW_PX }} title={sample.key} onClick={() => go(index)}>
              <Small dataset={dataset} sample={sample} />
              <span className="names">
                <span>{sample.key}</span>
                <small>{[sample.split, sample.label, sample.mask ? "mask" : "", sample.problem && !sample.image ? "cannot be shown" : "", verdicts?.has(sample.key) ? "cannot be used" : ""].filter(Boolean).join(" · ")}</small>
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** A small picture of an image; of the rest, what it is. */
function Small({ dataset, sample }: { dataset: string; sample: Sample }) {
  const isPicture = sample.kind === "image" && sample.image !== null && sample.image.size <= SMALL;
  const address = useQuery({ ...addressQuery(dataset, sample.image?.name ?? ""), enabled: isPicture && !sample.image?.url });
  const url = sample.image?.url ?? address.data;
  if (isPicture && url) return <img className="thumbnail" src={url} alt="" loading="lazy" />;
  return <span className="thumbnail none" aria-hidden>{sample.kind === "volume" ? "3-D" : sample.kind === "image" ? "2-D" : sample.kind === "table" ? "table" : sample.kind === "text" ? "text" : "–"}</span>;
}
