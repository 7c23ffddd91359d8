/** The frame of every screen: navigation, banners, the screen that the address names, and the transport. */
import { CircleHelp, Moon, Search, Sun, SunMoon } from "lucide";
import { useEffect } from "preact/hooks";
import { IconButton } from "./components/controls.tsx";
import { Help, isHelpOpen, KeyDialog, Notices } from "./components/dialogs.tsx";
import { Transport } from "./components/transport.tsx";
import { short } from "./lib/format.ts";
import { ClipScreen } from "./screens/clip.tsx";
import { Compare } from "./screens/compare.tsx";
import { Library } from "./screens/library.tsx";
import { Listening } from "./screens/listening.tsx";
import { Make } from "./screens/make.tsx";
import { Participant } from "./screens/participant.tsx";
import { ServerScreen } from "./screens/server.tsx";
import { search } from "./state/actions.ts";
import { restoreLink } from "./state/draft.ts";
import { attempt } from "./state/notices.ts";
import { replaceRoute, route } from "./state/router.ts";
import { chosen } from "./state/selection.ts";
import { type Theme, theme } from "./state/settings.ts";
import { connection, server } from "./state/store.ts";
import { restoreFile } from "./state/uploads.ts";
import { t } from "./strings.ts";

const TABS = [
  { screen: "", href: "#/", text: t.nav.make },
  { screen: "library", href: "#/library", text: t.nav.library },
  { screen: "test", href: "#/test", text: t.nav.tests },
  { screen: "server", href: "#/server", text: t.nav.server },
];
const THEMES: Record<Theme, { next: Theme; icon: typeof Sun }> = {
  auto: { next: "light", icon: SunMoon },
  light: { next: "dark", icon: Sun },
  dark: { next: "auto", icon: Moon },
};
/** Share of the storage in use from which the page warns. */
const STORAGE_WARNING = 0.9;

export function App() {
  const { screen, rest } = route.value;
  useEffect(() => {
    if (screen === "r") {
      attempt(async () => {
        await restoreLink(rest[0] ?? "");
        replaceRoute("#/"); // the way back does not restore it once more
      });
    }
  }, [screen, rest[0]]);
  if (screen === "test" && rest.length > 0) {
    return (
      <>
        <Participant />
        <Notices />
        <KeyDialog />
      </>
    );
  }
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: a recipe may be dropped anywhere; the library also restores it by a press
    <div class="app" onDragOver={(event) => event.preventDefault()} onDrop={onDrop}>
      <Header screen={screen} />
      <Banner />
      <Screen name={screen} />
      <Transport />
      <Notices />
      <Help />
      <KeyDialog />
    </div>
  );
}

function Screen({ name }: { name: string }) {
  switch (name) {
    case "library":
      return <Library />;
    case "clip":
      return <ClipScreen key={route.value.rest[0]} />;
    case "compare":
      return <Compare />;
    case "test":
      return <Listening />;
    case "server":
      return <ServerScreen />;
    default:
      return <Make />;
  }
}

function Header({ screen }: { screen: string }) {
  const { next, icon } = THEMES[theme.value];
  return (
    <header class="top">
      <a class="wordmark" href="#/" aria-label="Descant">
        <svg viewBox="0 0 28 20" width="28" height="20" aria-hidden="true">
          <path d="M1 9 C 5 1, 9 1, 14 7 S 23 13, 27 5" />
          <path d="M1 16 C 6 10, 10 11, 14 15 S 22 18, 27 13" />
        </svg>
        <span>Descant</span>
      </a>
      <nav aria-label={t.nav.name}>
        {TABS.map((tab) => (
          <a key={tab.screen} href={tab.href} aria-current={tab.screen === screen ? "page" : undefined}>
            {tab.text}
          </a>
        ))}
        {chosen.value.length > 1 && (
          <a href={`#/compare?c=${chosen.value.join(",")}`}>{t.nav.compare(chosen.value.length)}</a>
        )}
      </nav>
      <Status />
      <IconButton icon={Search} label={t.nav.search} hotkey="/" onClick={search} />
      <IconButton icon={CircleHelp} label={t.nav.help} hotkey="?" onClick={() => (isHelpOpen.value = true)} />
      <IconButton icon={icon} label={t.nav.themes[theme.value]} onClick={() => (theme.value = next)} />
    </header>
  );
}

function Status() {
  const info = server.value;
  if (info === null) {
    return <p class="status" />;
  }
  const speed = info.speed === null ? null : short(1 / info.speed.real_time_factor);
  return (
    <p class={`status is-${connection.value}`}>
      <span class="dot" aria-hidden="true" />
      <span>{t.nav.status(info.model, info.device, speed)}</span>
      {info.queue.length > 0 && <span class="queue">{t.nav.queue(info.queue.length)}</span>}
    </p>
  );
}

function Banner() {
  const info = server.value;
  if (connection.value === "offline") {
    return <Line text={t.state.offlineBanner} />;
  }
  if (info?.state === "draining") {
    return <Line text={t.state.draining} />;
  }
  if (info?.state === "engine-restarting") {
    return <Line text={t.state.restarting} />;
  }
  if (info !== null && info.storage.used_bytes > STORAGE_WARNING * info.storage.quota_bytes) {
    return <Line text={t.state.storage} />;
  }
  return null;
}

function Line({ text }: { text: string }) {
  return (
    <p class="banner" role="status">
      {text}
    </p>
  );
}

function onDrop(event: DragEvent): void {
  const file = event.dataTransfer?.files[0];
  event.preventDefault();
  if (file !== undefined) {
    attempt(() => restoreFile(file));
  }
}
