"""The pure core: values in, values out. No asyncio, socket, logging, clock or open() in here."""
