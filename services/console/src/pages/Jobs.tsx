import { Button, Group, MultiSelect, Select, Text, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconPlus, IconX } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useState } from "react";

import type { Job, JobState } from "../api/client";
import { STATES, useTold } from "../api/live";
import { type JobFilters, jobsHead, jobsTail, kindsQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { JobTable } from "../components/JobTable";
import { Heading } from "../Shell";
import type { JobsSearch } from "../router";

const SORTS = [
  { value: "-created_at", label: "newest first" },
  { value: "created_at", label: "oldest first" },
  { value: "name", label: "by name" },
];

export default function Jobs() {
  const { project, state, kind, name, tag, created_by, sort } = useSearch({ from: "/jobs" });
  const filters: JobFilters = useMemo(
    () => ({ project, state, kind, name, tag, created_by, sort }),
    [project, state, kind, name, tag, created_by, sort],
  );
  const { jobs, more, head, tail, isEnd } = useJobs(filters);
  return (
    <>
      <Heading aside={<Group><Count jobs={jobs} isEnd={isEnd} /><New /></Group>}>Jobs</Heading>
      <Filters />
      {head.error && <Failure error={head.error} retry={() => void head.refetch()} />}
      {tail.error && <Failure error={tail.error} retry={() => void tail.fetchNextPage()} />}
      {head.isSuccess && jobs.length === 0 && <Text c="dimmed">No job is like that.</Text>}
      {jobs.length > 0 && <JobTable jobs={jobs} label="Jobs" more={more} height="calc(100vh - 230px)" />}
    </>
  );
}

function New() {
  return <Button component={Link} to="/jobs/new" leftSection={<IconPlus size={16} aria-hidden />}>New job</Button>;
}

function Count({ jobs, isEnd }: { jobs: readonly Job[]; isEnd: boolean }) {
  const count = jobs.length.toLocaleString("en-GB");
  return <Text size="sm" c="dimmed" role="status">{isEnd ? `${count} jobs` : `first ${count} jobs; scroll for more`}</Text>;
}

/** The jobs of a filter: the first page as it is now, older ones as they were read, with what the feed said since. */
function useJobs(filters: JobFilters) {
  const told = useTold();
  const head = useQuery({
    ...jobsHead(filters),
    placeholderData: (old) => old,
    // state changes come by the feed; the progress of what runs does not
    refetchInterval: ({ state }) => (state.data?.items.some((job) => job.state === "running") ? 5000 : false),
  });
  // older pages go on from where the first page ended when the list was opened
  const [from, setFrom] = useState<{ filters: JobFilters; cursor: string | null } | null>(null);
  const next = head.isPlaceholderData ? undefined : head.data?.next;
  useEffect(() => {
    if (next !== undefined && from?.filters !== filters) setFrom({ filters, cursor: next });
  }, [next, filters, from]);
  const cursor = from?.filters === filters ? from.cursor : null;
  const tail = useInfiniteQuery(jobsTail(filters, cursor));
  const jobs = useMemo(() => {
    const found = new Map((head.data?.items ?? []).map((job) => [job.id, job]));
    for (const page of tail.data?.pages ?? []) {
      for (const job of page.items) {
        if (found.has(job.id)) continue;
        const state = told.get(job.id) ?? job.state;
        found.set(job.id, state === job.state ? job : { ...job, state, reason: null });
      }
    }
    return [...found.values()];
  }, [head.data, tail.data, told]);
  const isEnd = cursor === null ? head.data?.next == null : tail.isSuccess && !tail.hasNextPage;
  const { fetchNextPage, isFetching, hasNextPage, isSuccess, isError } = tail;
  const more = useCallback(() => {
    if (cursor && !isFetching && !isError && (!isSuccess || hasNextPage)) void fetchNextPage();
  }, [cursor, isFetching, isSuccess, isError, hasNextPage, fetchNextPage]);
  return { jobs, more, head, tail, isEnd };
}

function Filters() {
  const search = useSearch({ from: "/jobs" });
  const navigate = useNavigate({ from: "/jobs" });
  const kinds = useQuery(kindsQuery());
  const set = (change: Partial<JobsSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const names = (kinds.data?.items ?? []).map((each) => each.name);
  const isFiltered = Boolean(search.state || search.kind || search.name || search.tag || search.created_by || search.sort);
  return (
    <Group mb="md" align="flex-end" gap="sm">
      <MultiSelect
        label="State" data={[...STATES]} value={search.state ?? []} w={180} clearable
        placeholder={search.state ? undefined : "any"} onChange={(state) => set({ state: state as JobState[] })}
      />
      <MultiSelect
        label="Kind" data={names} value={search.kind ?? []} w={180} clearable searchable
        placeholder={search.kind ? undefined : "any"} onChange={(kind) => set({ kind })}
      />
      <Words label="Name" hint="begins with" value={search.name} set={(name) => set({ name, sort: undefined })} />
      <Words label="Tag" value={search.tag} set={(tag) => set({ tag })} />
      <Words label="Owner" value={search.created_by} set={(created_by) => set({ created_by })} />
      <Select
        label="Order" data={SORTS} value={search.sort ?? (search.name ? "name" : "-created_at")} w={140} allowDeselect={false}
        onChange={(sort) => set({ sort: sort ?? undefined })}
      />
      {isFiltered && (
        <Button
          variant="default" leftSection={<IconX size={16} aria-hidden />}
          onClick={() => void navigate({ search: ({ project }) => ({ project }) })}
        >
          Clear
        </Button>
      )}
    </Group>
  );
}

interface WordsProps {
  label: string;
  hint?: string;
  value: string | undefined;
  set: (value: string | undefined) => void;
}

/** A text that becomes a filter when typing stops. */
export function Words({ label, hint = "", value, set }: WordsProps) {
  const [typed, setTyped] = useState(value ?? "");
  const [seen, setSeen] = useState(value);
  if (seen !== value) {
    setSeen(value);
    setTyped(value ?? "");
  }
  const later = useDebouncedCallback((text: string) => set(text.trim() || undefined), 300);
  return (
    <TextInput
      label={label} placeholder={hint} value={typed} w={132}
      onChange={(event) => {
        setTyped(event.currentTarget.value);
        later(event.currentTarget.value);
      }}
    />
  );
}
