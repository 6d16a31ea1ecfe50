import {
  ActionIcon, AppShell, Burger, Button, Group, NavLink, Select, Text, Title, Tooltip, useComputedColorScheme, useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconBox, IconChartDots, IconDatabase, IconFlask, IconHome, IconLogout, IconMoon, IconPlayerPlay, IconSitemap, IconSun, IconUsers } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState, useSearch } from "@tanstack/react-router";
import { useEffect } from "react";

import { useFeed, useIsLive } from "./api/live";
import { meQuery } from "./api/queries";
import { Login } from "./Login";
import { session, useSession } from "./session";

const PAGES = [
  { to: "/", label: "Home", icon: IconHome },
  { to: "/jobs", label: "Jobs", icon: IconPlayerPlay },
  { to: "/pipelines", label: "Pipelines", icon: IconSitemap },
  { to: "/datasets", label: "Datasets", icon: IconDatabase },
  { to: "/models", label: "Models", icon: IconBox },
  { to: "/try", label: "Try it", icon: IconFlask },
  { to: "/map", label: "Map", icon: IconChartDots },
  { to: "/admin", label: "Administration", icon: IconUsers },
] as const;

/** What is around every page; without a key, the page that asks for one. The address stays, so one goes on there. */
export function Shell() {
  const { key } = useSession();
  const queries = useQueryClient();
  useEffect(() => {
    // nothing of one key is shown to the next
    if (!key) queries.clear();
  }, [key, queries]);
  return key ? <Inside keyInUse={key} /> : <Login />;
}

function Inside({ keyInUse }: { keyInUse: string }) {
  const { project } = useSearch({ from: "__root__" });
  const { data: me } = useQuery(meQuery());
  const [opened, { toggle, close }] = useDisclosure();
  const path = useRouterState({ select: (state) => state.location.pathname });
  useFeed(project, keyInUse);
  useEffect(() => {
    const name = PAGES.find((each) => each.to !== "/" && path.startsWith(each.to))?.label ?? "Home";
    document.title = `${name} – medcoss`;
  }, [path]);
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 200, breakpoint: "md", collapsed: { mobile: !opened } }} padding="lg">
      <a className="skip" href="#content">Skip to the content</a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="md" size="sm" aria-label="Menu" aria-expanded={opened} />
            <Text fw={700} size="lg">medcoss</Text>
            <Live />
          </Group>
          <Group gap="sm" wrap="nowrap"><Project /><Who /><Scheme />
            <Button size="xs" variant="default" leftSection={<IconLogout size={16} aria-hidden />} onClick={() => session.end(null)}>
              Log out
            </Button>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm" aria-label="Pages">
        {PAGES.filter(({ to }) => to !== "/admin" || me?.role === "admin").map(({ to, label, icon: Icon }) => (
          <NavLink
            key={to} label={label} leftSection={<Icon size={18} aria-hidden />} onClick={close}
            active={to === "/" ? path === "/" : path.startsWith(to)} variant="light"
            renderRoot={(props) => <Link to={to} {...props} />}
          />
        ))}
      </AppShell.Navbar>
      <AppShell.Main id="content"><Outlet /></AppShell.Main>
    </AppShell>
  );
}

function Live() {
  const live = useIsLive();
  return (
    <Tooltip label={live ? "Changes appear by themselves" : "No line to the platform; trying again"}>
      <Text size="xs" c={live ? "dimmed" : undefined} role="status" data-live={live}>{live ? "live" : "connecting …"}</Text>
    </Tooltip>
  );
}

function Project() {
  const { data: me } = useQuery(meQuery());
  const { project } = useSearch({ from: "__root__" });
  const navigate = useNavigate();
  // one that this key does not open stays in the address of whoever had another key before, and has to be left
  if (!me || (me.projects.length < 2 && !project)) return null;
  const names = me.projects.map((each) => each.name);
  return (
    <Select
      size="xs" w={170} aria-label="Project" placeholder="all projects" clearable searchable value={project ?? null}
      data={project && !names.includes(project) ? [...names, project] : names} clearButtonProps={{ "aria-label": "All projects" }}
      onChange={(name) => void navigate({ to: ".", search: (old) => ({ ...old, project: name ?? undefined }) })}
    />
  );
}

function Who() {
  const { data: me } = useQuery(meQuery());
  return me ? <Text size="xs" c="dimmed" visibleFrom="md">{me.owner} · {me.role}</Text> : null;
}

function Scheme() {
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  const label = dark ? "Light colours" : "Dark colours";
  return (
    <Tooltip label={label}>
      <ActionIcon variant="default" size="md" aria-label={label} onClick={() => setColorScheme(dark ? "light" : "dark")}>
        {dark ? <IconSun size={18} /> : <IconMoon size={18} />}
      </ActionIcon>
    </Tooltip>
  );
}

export function Heading({ children, aside }: { children: React.ReactNode; aside?: React.ReactNode }) {
  return <Group justify="space-between" mb="md"><Title order={1} size="h2">{children}</Title>{aside}</Group>;
}
