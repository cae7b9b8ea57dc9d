// The page that embeds an editor loads this: it opens the editor in a frame and carries events between the two.
(() => {
  "use strict";
  const script = document.currentScript;
  const root = new URL("../../../../", script.src).href;
  const prefix = "{{prefix}}";
  let count = 0;

  class DocEditor {
    constructor(placeholder, config) {
      this.config = config;
      this.id = `${placeholder}-${++count}`;
      const query = new URLSearchParams({
        _dc: "0", lang: config.editorConfig?.lang || "en", customer: "ONLYOFFICE", type: config.type || "desktop",
        frameEditorId: this.id, isForm: "false", parentOrigin: location.origin, fileType: config.document?.fileType || "",
      });
      this.frame = document.createElement("iframe");
      Object.assign(this.frame, { name: "frameEditor", title: "Editor", allowFullscreen: true });
      Object.assign(this.frame.style, { width: config.width || "100%", height: config.height || "100%", border: "0", display: "block" });
      this.frame.allow = "clipboard-read; clipboard-write";
      this.frame.src = `${root}${prefix}/web-apps/apps/documenteditor/main/index.html?${query}`;
      this.listen = (event) => this.receive(event);
      window.addEventListener("message", this.listen);
      document.getElementById(placeholder).replaceWith(this.frame);
    }

    receive(event) {
      if (event.source !== this.frame.contentWindow) return;
      let message;
      try { message = JSON.parse(event.data); } catch { return; }
      if (message.frameEditorId !== this.id) return;
      if (message.event === "onAppReady") this.send("openDocument", this.config);
      const handler = this.config.events?.[message.event];
      if (handler) handler.call(this, { target: this, data: message.data });
    }

    send(command, data) {
      const plain = JSON.parse(JSON.stringify({ ...data, events: Object.keys(this.config.events || {}) }));
      this.frame.contentWindow.postMessage(JSON.stringify({ command, data: plain }), new URL(root).origin);
    }

    refreshFile(config) {
      this.config = { ...config, events: this.config.events };
      this.send("refreshFile", this.config);
    }

    destroyEditor() {
      window.removeEventListener("message", this.listen);
      this.frame.remove();
    }
  }

  window.DocsAPI = { DocEditor, version: () => prefix.split("-")[0] };
})();
