import { Checkbox, Group, Select, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";

import type { Reports } from "../../api/live";
import { LOG_PAGE, type Level, LEVELS, logQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { More } from "../../components/More";
import { moment, number, zone } from "../../format";

/** Most new lines that are kept on the page before the end is read anew. */
const NEW = 2000;
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

function Marked({ text, wanted }: { text: string; wanted: string }) {
  const at = wanted ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1;
  if (at < 0) return <>{text}</>;
  return <>{text.slice(0, at)}<mark>{text.slice(at, at + wanted.length)}</mark>{text.slice(at + wanted.length)}</>;
}

/** Lines of the whole log, from its end backwards, and those that come meanwhile. */
function useLines(id: string, reports: Reports, wanted: string, level: Level) {
  const queries = useQueryClient();
  const query = logQuery(id, wanted, level);
  const found = useInfiniteQuery(query);
  const pages = found.data?.pages;
  const newest = pages?.[0];
  const lines = useMemo(() => pages?.toReversed().flatMap((page) => page.items) ?? [], [pages]);
  const kept = reports.logs;
  const come = newest
    ? kept.filter((line) => line.seq > newest.next && LEVELS.indexOf(line.level as Level) >= LEVELS.indexOf(level) && line.message.toLowerCase().includes(wanted.toLowerCase()))
    : [];
  // lines between the last one that was read and those that are kept may be missing then
  const first = kept[0]?.seq;
  const isBehind = newest !== undefined && (come.length > NEW || (reports.dropped > 0 && first !== undefined && first > newest.next));
  useEffect(() => {
    if (isBehind) void queries.resetQueries({ queryKey: query.queryKey });
  }, [isBehind, newest?.next]);
  return { found, lines: [...lines, ...come], matches: newest && (newest.matches ?? 0) + come.length };
}

/** The log of a job as it comes, and the search in all of it. */
export function Log({ id, reports, over }: { id: string; reports: Reports; over: boolean }) {
  const search = useSearch({ from: "/jobs/$id" });
  const navigate = useNavigate({ from: "/jobs/$id" });
  const [typed, setTyped] = useState(search.q ?? "");
  const level = search.level ?? "debug";
  const [follow, setFollow] = useState(true);
  const [wanted] = useDebouncedValue(typed.trim(), 250);
  // a colleague, or a reload, sees the same lines
  useEffect(() => {
    void navigate({ search: (old) => ({ ...old, q: wanted || undefined }), replace: true, resetScroll: false });
  }, [navigate, wanted]);
  const box = useRef<HTMLPreElement>(null);
  const { found, lines, matches } = useLines(id, reports, wanted, level);
  const last = lines.at(-1)?.seq;
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [follow, last]);
  const isAll = !wanted && level === "debug";
  const older = (matches ?? 0) - lines.length;
  return (
    <>
      <Group mb="sm" align="flex-end">
        <TextInput label="Search the log" placeholder="in all of its lines" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} w={280} maxLength={200}
          leftSection={<IconSearch size={16} aria-hidden />} />
        <Select label="Level" data={LEVELS.map((each) => ({ value: each, label: each === "debug" ? "all" : `${each} and above` }))}
          value={level} allowDeselect={false} onChange={(to) => void navigate({ search: (old) => ({ ...old, level: to && to !== "debug" ? to : undefined }), replace: true, resetScroll: false })} w={180} />
        <Checkbox label="Follow the end" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} mb={8} />
        <Text size="sm" c="dimmed" mb={8} role="status">
          {matches === undefined ? "searching …" : `${number(matches)} ${matches === 1 ? "line" : "lines"}${isAll ? "" : " found in the whole log"}${older > 0 ? `, the last ${number(lines.length)} shown` : ""}`}
        </Text>
        <Text size="sm" c="dimmed" mb={8} ml="auto">times in {zone()}</Text>
      </Group>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.hasNextPage && older > 0 && (
        <Group gap="sm" mb="xs" align="flex-end">
          <More of={{ ...found, fetchNextPage: () => { setFollow(false); return found.fetchNextPage(); } }}>{`${number(Math.min(LOG_PAGE, older))} older ${isAll ? "lines" : "hits"}`}</More>
          <Text size="sm" c="dimmed" mb={8}>{number(older)} are older than what is shown.</Text>
        </Group>
      )}
      <pre ref={box} className="log scroll" tabIndex={0} role="region" aria-label="Log">
        {lines.map((line) => (
          <div key={line.seq} className={line.level}>
            <time dateTime={line.at} title={`${moment(line.at)}, attempt ${line.attempt}`}>{CLOCK.format(new Date(line.at))}</time>
            {line.level === "error" || line.level === "warning" ? `${line.level}: ` : ""}
            <Marked text={line.message} wanted={wanted} />
          </div>
        ))}
        {lines.length === 0 && found.isSuccess && <div>{isAll ? (over ? "It has written nothing." : "Nothing written yet.") : "No line is like that."}</div>}
      </pre>
    </>
  );
}
