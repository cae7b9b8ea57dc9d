// A small editor of shared text that speaks the Document Server's protocol: Engine.IO, Socket.IO, tokens, save locks.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const query = new URLSearchParams(location.search);
  const text = $("text");
  const COLORS = ["#2f6fde", "#cf5b3f", "#2e9e5b", "#9a55c8", "#c28a1c", "#1c9bb0", "#c4437f", "#6a7a2b"];

  // ---- the page around the editor
  const tell = (event, data) =>
    parent.postMessage(JSON.stringify({ frameEditorId: query.get("frameEditorId"), event, data }), query.get("parentOrigin") || "*");

  function show(kind, words) {
    $("dot").className = `dot ${kind}`;
    $("state").textContent = words;
  }

  function dialog(title, words, detail = "") {
    $("dialog-title").textContent = title;
    $("dialog-text").textContent = words;
    $("dialog-detail").textContent = detail;
    if (!$("dialog").open) $("dialog").showModal();
  }

  // ---- edits: one splice {p: position, d: deleted, i: inserted}, in UTF-16 units
  function diff(from, to) {
    if (from === to) return null;
    let start = 0;
    const most = Math.min(from.length, to.length);
    while (start < most && from[start] === to[start]) start++;
    let tail = 0;
    while (tail < most - start && from[from.length - 1 - tail] === to[to.length - 1 - tail]) tail++;
    // Never cut a pair of surrogates in two: half a character is no JSON.
    const low = (s, at) => s.charCodeAt(at) >= 0xdc00 && s.charCodeAt(at) <= 0xdfff;
    if (start > 0 && (low(from, start) || low(to, start))) start--;
    if (tail > 0 && (low(from, from.length - tail) || low(to, to.length - tail))) tail--;
    return { p: start, d: from.length - tail - start, i: to.slice(start, to.length - tail) };
  }
  const apply = (s, e) => s.slice(0, e.p) + (e.i || "") + s.slice(e.p + e.d);
  // Where a position lies after somebody else's splice.
  function moved(at, e) {
    if (at <= e.p) return at;
    if (at >= e.p + e.d) return at - e.d + e.i.length;
    return e.p + e.i.length;
  }
  function over(mine, theirs) {
    const start = moved(mine.p, theirs);
    const end = Math.max(start, moved(mine.p + mine.d, theirs));
    return { p: start, d: end - start, i: mine.i };
  }

  // ---- what is known
  let config = null;
  let editing = false;
  let original = null; // the text as the server opened it
  let log = []; // all changes since, in the server's order
  let base = ""; // original plus log: what the server has
  let sending = null; // { edit, before }: under way, not yet confirmed
  let asked = false; // waits for the save lock
  let arriving = []; // changes that came before the welcome
  let carried = null; // what was written but not shared when the version changed: { base, edit }
  let session = null, sessionId = null, since = null, me = null;
  let line = null, attempts = 0, preferPolling = false, over_ = false;

  const parse = (change) => {
    try { return { p: 0, d: 0, i: "", ...JSON.parse(JSON.parse(change.change)) }; } catch { return { p: 0, d: 0, i: "" }; }
  };

  function redraw(newBase) {
    const theirs = diff(base, newBase);
    if (theirs) {
      const mine = diff(base, text.value);
      const caret = mine ? over(theirs, mine) : theirs;
      const [from, to] = [moved(text.selectionStart, caret), moved(text.selectionEnd, caret)];
      const scroll = text.scrollTop;
      text.value = mine ? apply(newBase, over(mine, theirs)) : newBase;
      text.setSelectionRange(from, to);
      text.scrollTop = scroll;
    }
    base = newBase;
    progress();
  }

  let dirty = false;
  function progress() {
    const pending = original !== null && (sending !== null || base !== text.value);
    $("sync").textContent = original === null || !editing ? "" : pending ? "sharing …" : log.length ? "all changes shared" : "no changes yet";
    if (pending !== dirty) tell("onDocumentStateChange", pending);
    dirty = pending;
    if (pending && !sending && !asked && me && line?.ready) {
      asked = true;
      message({ type: "isSaveLock", syncChangesIndex: log.length });
    }
  }

  // ---- messages of the Document Server
  const message = (data) => line?.send(`42${JSON.stringify(["message", data])}`);

  function introduction() {
    const { document: doc, editorConfig: editor } = config;
    return {
      type: "auth", docid: doc.key, documentCallbackUrl: editor.callbackUrl,
      user: { id: editor.user?.id, username: editor.user?.name, indexUser: -1 }, editorType: 0, lastOtherSaveTime: -1, block: [],
      sessionId, sessionTimeConnect: since, sessionTimeIdle: 0, isCloseCoAuthoring: false,
      openCmd: sessionId ? null : { c: "open", id: doc.key, userid: editor.user?.id, format: doc.fileType, url: doc.url, title: doc.title, outputformat: 8193 },
      lang: editor.lang || "en", mode: editor.mode, permissions: doc.permissions, encrypted: false, coEditingMode: "fast",
      jwtOpen: config.token, jwtSession: session || undefined, supportAuthChangesAck: false,
    };
  }

  const handlers = {
    license: () => message(introduction()),
    authChanges: ({ changes }) => { arriving.push(...changes.map(parse)); },
    auth: (data) => {
      session = data.jwt || session; sessionId = data.sessionId; since = data.sessionTimeConnect; me = data.indexUser;
      attempts = 0;
      people(data.participants);
      show("good", "connected");
      log = arriving;
      asked = false;
      if (original === null) return;
      // Back again: was the change that was under way taken or not?
      if (sending && !log.some((edit) => edit.n === sending.edit.n)) base = sending.before;
      sending = null;
      redraw(log.reduce(apply, original));
    },
    documentOpen: async ({ data }) => {
      if (original !== null || data.type !== "open") return;
      if (data.status !== "ok") {
        return dialog("The document could not be opened", "The Document Server could not fetch it from the application.", `code ${data.data}`);
      }
      const answer = await fetch(data.data["Editor.bin"]).catch(() => null);
      if (!answer?.ok) {
        return dialog("The document could not be loaded", "Its link was refused.", answer ? `HTTP ${answer.status}` : "no answer");
      }
      const loaded = await answer.text();
      original = loaded;
      base = log.reduce(apply, original);
      text.value = carried?.base === base ? apply(base, carried.edit) : base;
      carried = null;
      text.disabled = false;
      text.readOnly = !editing;
      text.placeholder = "Write something …";
      $("save").disabled = !editing;
      if (editing) text.focus({ preventScroll: true });
      text.setSelectionRange(text.value.length, text.value.length);
      tell("onDocumentReady");
      progress();
    },
    saveLock: ({ saveLock }) => {
      asked = false;
      if (saveLock) return setTimeout(progress, 80 + Math.random() * 120);
      const edit = diff(base, text.value);
      if (!edit) return message({ type: "unLockDocument", isSave: false, unlock: true, deleteIndex: null });
      edit.n = `${me}.${Math.random().toString(36).slice(2)}`;
      sending = { edit, before: base };
      base = text.value;
      message({
        type: "saveChanges", changes: JSON.stringify([JSON.stringify(edit)]), startSaveChanges: true, endSaveChanges: true,
        isCoAuthoring: true, isExcel: false, deleteIndex: null, excelAdditionalInfo: "{}", unlock: false, releaseLocks: true,
      });
    },
    unSaveLock: () => {
      if (sending) log.push(sending.edit);
      sending = null;
      progress();
    },
    saveChanges: ({ changes }) => {
      const edits = changes.map(parse);
      log.push(...edits);
      if (original !== null) redraw(edits.reduce(apply, base));
    },
    connectState: ({ participants }) => people(participants),
    forceSaveStart: ({ messages }) => { if (messages.code) $("sync").textContent = "nothing new to save"; },
    forceSave: ({ messages }) => { $("sync").textContent = messages.success ? "saved" : "the save was refused"; },
    warning: () => dialog("The document could not be saved", "The application did not accept the report that you are editing. Your text is kept here meanwhile."),
    drop: () => stop("Editing was ended", "You can go on reading; the application ended your editing session."),
    disconnectReason: ({ code }) => refused(code, ""),
    error: ({ code, description }) => refused(code, description),
  };

  function refused(code, detail) {
    over_ = true;
    line?.close();
    const note = [`code ${code}`, detail].filter(Boolean).join(" · ");
    if (code === 4008) {
      const edit = original === null ? null : diff(sending?.before ?? base, text.value);
      if (edit) carried = { base: sending?.before ?? base, edit };
      text.readOnly = true;
      show("wait", "this version was saved, fetching the new one …");
      tell("onRequestRefreshFile");
    } else if (code === 4005) {
      tell("onError", { errorCode: -21, errorDescription: "token expired" });
      stop("This link has expired", "Open the document again from the application to get a fresh one.", note);
    } else if (code === 4006) {
      tell("onError", { errorCode: -20, errorDescription: "token error" });
      stop("The token of this document is not valid", "It is missing or signed with another secret. Please ask the administrator.", note);
    } else if (code === 4004) {
      tell("onError", { errorCode: -23, errorDescription: "access denied" });
      stop("You may not open this document", "The token does not grant it.", note);
    } else {
      tell("onError", { errorCode: -18, errorDescription: "connection lost" });
      stop("The connection is lost", "Please copy what you still need and open the document again.", note);
    }
  }

  function stop(title, words, detail) {
    over_ = true;
    line?.close();
    show("bad", "not connected");
    text.readOnly = true;
    text.placeholder = "";
    $("save").disabled = true;
    dialog(title, words, detail);
  }

  function people(list) {
    $("people").replaceChildren(...list.map((person) => {
      const chip = document.createElement("span");
      chip.className = person.indexUser === me ? "person me" : "person";
      chip.style.setProperty("--color", COLORS[person.indexUser % COLORS.length]);
      chip.title = person.view ? "reads" : "edits";
      chip.append(document.createElement("i"), person.username + (person.indexUser === me ? " (you)" : ""));
      return chip;
    }));
  }

  // ---- Engine.IO over WebSocket or long-polling
  function address(transport, sid) {
    const key = config.document.key;
    const url = new URL(`../../../../doc/${encodeURIComponent(key)}/c/`, location.href);
    url.search = new URLSearchParams({ shardkey: key, EIO: "4", transport, ...(sid ? { sid } : {}) });
    if (transport === "websocket") url.protocol = url.protocol.replace("http", "ws");
    else url.searchParams.set("t", Date.now().toString(36) + Math.random().toString(36).slice(2, 6));
    return url;
  }

  class Line {
    constructor(polling) {
      this.open = true;
      this.ready = false; // CONNECT was accepted
      this.heard = false;
      this.kind = polling ? "long-polling" : "WebSocket";
      if (polling) this.poll();
      else this.socket();
    }

    socket() {
      this.ws = new WebSocket(address("websocket"));
      this.ws.onmessage = ({ data }) => this.packet(data);
      this.ws.onclose = () => this.ended();
      this.put = (packet) => this.ws.readyState === WebSocket.OPEN && this.ws.send(packet);
    }

    async poll() {
      const queue = [];
      let busy = false, sid = null;
      const flush = async () => {
        if (busy || !queue.length || !sid) return;
        busy = true;
        const body = queue.splice(0).join("\x1e");
        const answer = await fetch(address("polling", sid), { method: "POST", body, headers: { "Content-Type": "text/plain;charset=UTF-8" } }).catch(() => null);
        busy = false;
        if (!answer?.ok) return this.ended();
        flush();
      };
      this.put = (packet) => { queue.push(packet); flush(); };
      while (this.open) {
        const answer = await fetch(address("polling", sid), { cache: "no-store" }).catch(() => null);
        if (!this.open) return;
        if (!answer?.ok) return this.ended();
        for (const packet of (await answer.text()).split("\x1e")) {
          if (packet[0] === "0") sid = JSON.parse(packet.slice(1)).sid;
          this.packet(packet);
        }
      }
    }

    packet(packet) {
      this.heard = true;
      if (packet[0] === "0") {
        const { pingInterval, pingTimeout } = JSON.parse(packet.slice(1));
        this.patience = pingInterval + pingTimeout;
        // A return shows the session alone: the first token may be too old by now.
        this.put(`40${JSON.stringify({ data: introduction(), ...(session ? { session } : { token: config.token }) })}`);
      } else if (packet === "2") this.put("3");
      else if (packet.startsWith("40")) this.ready = true;
      else if (packet.startsWith("44")) {
        const { message: words, data } = JSON.parse(packet.slice(2));
        refused(data?.code, data?.description || words);
      } else if (packet.startsWith("42")) {
        const [, data] = JSON.parse(packet.slice(2));
        handlers[data?.type]?.(data);
      } else if (packet === "1" || packet === "41") this.ended();
      clearTimeout(this.timer);
      if (this.open) this.timer = setTimeout(() => this.ended(), this.patience || 45000);
    }

    send(packet) { if (this.open) this.put(packet); }

    close() {
      this.open = false;
      clearTimeout(this.timer);
      this.ws?.close();
    }

    ended() {
      if (!this.open) return;
      this.close();
      if (line !== this || over_) return;
      // Without a word from the server the other transport is tried, as the real client does.
      if (!this.heard) preferPolling = !preferPolling;
      reconnect();
    }
  }

  function reconnect() {
    if (++attempts > 50) return refused(4011, "no answer after 50 tries");
    show("wait", `connection lost, trying again (${attempts}) …`);
    setTimeout(connect, attempts === 1 && !session ? 500 : 2000);
  }

  function connect() {
    if (over_) return;
    arriving = [];
    line?.close();
    line = new Line(preferPolling);
    $("transport").textContent = line.kind;
  }

  function start(given) {
    config = given;
    over_ = false;
    editing = config.editorConfig.mode !== "view";
    [original, log, base, sending, asked, session, sessionId, since, me, attempts] = [null, [], "", null, false, null, null, null, null, 0];
    text.value = "";
    text.disabled = true;
    $("title").textContent = config.document.title || config.document.key;
    $("mode").hidden = editing;
    $("save").hidden = !editing;
    show("wait", "connecting …");
    connect();
  }

  // ---- go
  text.addEventListener("input", progress);
  $("save").addEventListener("click", () => message({ type: "forceSaveStart" }));
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") {
      event.preventDefault();
      if (!$("save").disabled) message({ type: "forceSaveStart" });
    }
  });
  addEventListener("message", ({ data, source }) => {
    if (source !== parent) return;
    let order;
    try { order = JSON.parse(data); } catch { return; }
    if (order.command === "openDocument" || order.command === "refreshFile") start(order.data);
  });
  tell("onAppReady");
})();
