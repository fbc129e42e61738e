// The routes of bench/peers/run with express-session and connect-redis. The argument is the URL of
// Redis. The only line of output is the address.
//
// The settings are those of the documentation of connect-redis. The sign-in and the sign-out are
// those of the documentation of express-session.

import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

const client = createClient({ url: process.argv[2] });
client.on("error", (error) => console.error("redis:", error.message));
await client.connect();

const app = express();
app.use(
  session({
    store: new RedisStore({ client }),
    resave: false,
    saveUninitialized: false,
    secret: "a secret for a benchmark on the loopback interface",
  }),
);

app.get("/read", (request, response) => {
  response.send(`${request.session.n ?? 0}\n`);
});

app.get("/add", (request, response) => {
  request.session.n = (request.session.n ?? 0) + 1;
  response.send(`${request.session.n}\n`);
});

app.post("/login", (request, response, next) => {
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.user = "bob";
    request.session.save((error) => {
      if (error) return next(error);
      response.send("signed in\n");
    });
  });
});

app.post("/logout", (request, response, next) => {
  request.session.user = null;
  request.session.save((error) => {
    if (error) return next(error);
    request.session.regenerate((error) => {
      if (error) return next(error);
      response.send("signed out\n");
    });
  });
});

app.get("/user", (request, response) => {
  response.send(request.session.user ?? "none");
});

app.get("/note", (request, response) => {
  response.send(request.session.note ?? "none");
});

// Checks the user, works for 300 ms, then writes a value.
app.post("/slow/:note", (request, response) => {
  if (!request.session.user) return response.sendStatus(401);
  setTimeout(() => {
    request.session.note = request.params.note;
    response.send("saved\n");
  }, 300);
});

// The same, but the handler answers after the store has saved the session.
app.post("/slow-save/:note", (request, response, next) => {
  if (!request.session.user) return response.sendStatus(401);
  setTimeout(() => {
    request.session.note = request.params.note;
    request.session.save((error) => {
      if (error) return next(error);
      response.send("saved\n");
    });
  }, 300);
});

const server = app.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
