"""The faceplate for Node-RED: scripts and page as they are, and what makes a flow of them."""
