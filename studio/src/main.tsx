/** The page begins here. */
import { render } from "preact";
import "./style/base.css";
import "./style/parts.css";
import "./style/screens.css";
import { App } from "./app.tsx";
import { keepFocus } from "./focus.ts";
import { installKeys } from "./keys.ts";
import { keepMaking } from "./state/actions.ts";
import { start } from "./state/store.ts";

start();
installKeys();
keepMaking();
keepFocus();
render(<App />, document.body);
